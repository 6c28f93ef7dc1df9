//! `stepfn generate`: what a model writes.

use burn::tensor::backend::Backend;
use serde_json::json;
use stepfn_attribution::Generated;

use super::Results;
use crate::args::GenerateArgs;
use crate::backend::{OnBackend, Place, dispatch};
use crate::failure::Failure;
use crate::input::{Asked, Inputs};
use crate::model::Loaded;
use crate::output::{Record, Sink, csv_lines};
use crate::progress::Teller;

/// Lets a model write.
pub(super) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    dispatch(&args.model, Generate(args))
}

struct Generate<'a>(&'a GenerateArgs);

impl OnBackend for Generate<'_> {
    fn run<B: Backend>(self, place: Place<B>) -> Result<(), Failure> {
        let args = self.0;
        let mut inputs = Inputs::sources(&args.text, args.source.as_ref(), args.input.as_deref())?;
        let loaded = Loaded::load(&args.model, &args.generation, &place)?;
        let preparer = loaded.preparer();
        let single = inputs.is_single();
        let teller = Teller::new(&args.output.to, inputs.len());
        let family = loaded.model.config().family;
        teller.note(|| format!("{} ({family}) on {}: {}", loaded.name, place.backend, place.about));
        let several = preparer.generation.settings.num_return_sequences > 1;
        let mut results =
            Results::new(Sink::open(&args.output.to, args.output.format, single && !several)?, teller, single);
        let mut number = 0;
        loop {
            let window = inputs.next_window()?;
            if window.is_empty() {
                return results.finish();
            }
            for Asked { request, spans, place } in window {
                let written = request.and_then(|request| {
                    let source = spans.none().and_then(|()| {
                        let hint = "give the prompt or source in the field `source`";
                        request.source.ok_or_else(|| Failure::work("no `source` to write after", hint))
                    });
                    let written = source.and_then(|source| {
                        let written = preparer.generate(&source, number).map_err(Failure::from)?;
                        Ok(written.into_iter().map(|generated| Written { source: source.clone(), generated }).collect())
                    });
                    written.map_err(|failure: Failure| place.map_or(failure.clone(), |place| failure.at(&place)))
                });
                number += 1;
                let written: Vec<Result<Written, Failure>> = match written {
                    Ok(written) => Vec::into_iter(written).map(Ok).collect(),
                    Err(failure) => vec![Err(failure)],
                };
                written.into_iter().try_for_each(|written| results.write(written))?;
            }
        }
    }
}

/// A source and what was written.
struct Written {
    source: String,
    generated: Generated,
}

impl Record for Written {
    fn json(&self) -> Result<String, serde_json::Error> {
        let Generated { text, hypothesis } = &self.generated;
        let (ids, score, finished) = (&hypothesis.ids, hypothesis.score, hypothesis.finished);
        serde_json::to_string(
            &json!({ "source": self.source, "text": text, "ids": ids, "score": score, "finished": finished }),
        )
    }

    fn table(&self) -> String {
        format!("{}\n", self.generated.text)
    }

    fn csv(&self, with_header: bool) -> String {
        let header = ["source", "text", "score", "finished"].map(str::to_owned).to_vec();
        let Generated { text, hypothesis } = &self.generated;
        let (score, finished) = (hypothesis.score.to_string(), hypothesis.finished.to_string());
        let row = vec![self.source.clone(), text.clone(), score, finished];
        csv_lines(with_header.then_some(header).into_iter().chain([row]))
    }
}
