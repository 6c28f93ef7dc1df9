//! `stepfn generate`: lets a model write text.

use std::time::Instant;

use stepfn::backend::{Devices, OnBackend};
use stepfn::writers::{WriterOptions, records};
use stepfn::{Outcome, Written};

use super::loading::{dispatch, load, note_loaded};
use super::unused;
use crate::args::GenerateArgs;
use crate::failure::Failure;
use crate::input::{Inputs, columns};
use crate::output::{self, Results};
use crate::progress::Teller;

/// Lets a model write text.
pub(super) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    dispatch(&args.model, Generate(args))
}

struct Generate<'a>(&'a GenerateArgs);

impl OnBackend for Generate<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let args = self.0;
        let inputs = Inputs::sources(&args.text, args.source.as_ref(), &args.chat, &args.lines, &args.columns)?;
        let inputs = inputs.without(&["target", "contrast_source", "contrast_target"], "the model writes texts itself");
        unused::check_once("--keep", &args.lines.keep, String::clone)?;
        let fields = columns(&args.output.format, &args.lines, Some(&args.columns))?;
        let writer = |single| {
            let options = WriterOptions { single, fields: fields.clone(), ..WriterOptions::default() };
            records::<Written>(&args.output.format, &options)
        };
        let mut places = output::places(inputs.paths(), &args.model);
        let destination = output::open(&args.output.to, writer(true)?.way(), &mut places)?;
        let started = Instant::now();
        let model = load::<D>(&args.model, &args.generation, args.output.to.quiet)?;
        let teller = Teller::new(&args.output.to, inputs.extent());
        note_loaded(&model, started, &teller);
        let single = inputs.len() == Some(1);
        let writer = Box::new(writer(single && model.texts_per_prompt() <= 1)?);
        let watch = inputs.watch();
        let warn = output::early(&teller, single);
        let results = Results { destination, writer, extras: Vec::new(), places, teller, single, watch };
        results.write_all(model.generate_all(inputs).on_warning(warn).flat_map(each))
    }
}

/// One outcome per written text.
fn each(Outcome { id, number, fields, result }: Outcome<Vec<Written>>) -> Vec<Outcome<Written>> {
    let outcome = |result| Outcome { id: id.clone(), number, fields: fields.clone(), result };
    match result {
        Ok(written) => written.into_iter().map(Ok).map(outcome).collect(),
        Err(error) => vec![outcome(Err(error))],
    }
}
