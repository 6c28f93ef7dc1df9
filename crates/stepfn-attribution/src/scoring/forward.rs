//! The forward passes of a batch, and the step functions on some of their rows.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};
use stepfn_core::{StepBatch, StepError};
use stepfn_models::tape::StackInput;
use stepfn_models::transformer::{Dropout, NoisyPass};
use stepfn_models::{Model, check_interrupted};

use super::Scorer;
use super::likely::likely;
use crate::masked::Places;
use crate::passes::prediction::{Pairing, located};
use crate::passes::{batch_of, select};
use crate::steps::Steps;
use crate::{AttributionError, ContrastText, Likely, Text};

/// A text in a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'t> {
    pub(super) text: &'t Text,
    pub(super) contrast: Option<&'t ContrastText>,
    /// Where the step of a masked copy is predicted.
    pub(super) places: Option<Places>,
    /// In the whole run.
    pub(super) number: usize,
}

/// What the passes of a batch left for scoring: one row per step, texts one after the other.
pub(super) struct Batch<B: Backend> {
    rows: Vec<Row>,
    /// `[rows, hidden]`.
    hidden: Tensor<B, 2>,
    /// `[contrast rows, hidden]`, and the token that each should have predicted.
    contrast: Option<(Tensor<B, 2>, Vec<u32>)>,
    /// `[samples · rows, hidden]`, sample after sample.
    noisy: Option<Tensor<B, 2>>,
}

/// A step.
struct Row {
    /// Number of its text in the batch.
    member: usize,
    /// From 0 at the first that is scored.
    step: usize,
    target: u32,
    /// The row of the contrast that it is compared with.
    partner: Option<usize>,
}

/// The scores of some rows; or the first row that has none, with its text's own numbers in the error.
pub(super) type Columns = Result<RowScores, (usize, StepError)>;

/// The scores of some rows.
pub(super) struct RowScores {
    /// For each function a score per row, then log-probabilities and entropies.
    pub(super) columns: Vec<Vec<f32>>,
    /// The most likely tokens of each row, if they were asked for.
    pub(super) likely: Vec<Vec<Likely>>,
}

impl<B: Backend> Batch<B> {
    /// Runs all passes that the functions need.
    pub(super) fn run(scorer: &Scorer<'_, B>, members: &[Member<'_>]) -> Result<Self, AttributionError> {
        let model = scorer.model;
        let originals: Vec<Reading<'_>> = members.iter().map(Member::original).collect();
        let hidden = hidden_rows(model, &originals, &Dropout::Off)?;
        let contrasts: Vec<Reading<'_>> = members.iter().filter_map(Member::contrasting).collect();
        let contrast = match contrasts.is_empty() {
            true => None,
            false => {
                let targets = members.iter().filter_map(|member| member.contrast);
                let targets = targets.flat_map(|contrast| contrast.target[contrast.steps()].iter().copied());
                Some((hidden_rows(model, &contrasts, &Dropout::Off)?, targets.collect()))
            }
        };
        let noisy = noisy_rows(scorer, members, &originals)?;
        Ok(Self { rows: rows(members)?, hidden, contrast, noisy })
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The text that a row is of.
    pub(super) fn member(&self, row: usize) -> usize {
        self.rows[row].member
    }

    /// Which of its text's steps a row is.
    pub(super) fn step(&self, row: usize) -> usize {
        self.rows[row].step
    }

    /// The scores of some rows.
    pub(super) fn score(&self, scorer: &Scorer<'_, B>, rows: &[usize]) -> Result<Columns, AttributionError> {
        check_interrupted()?;
        match self.columns(scorer, rows) {
            Ok(columns) => Ok(Ok(columns)),
            Err(error) => {
                let step_of_row = |row: usize| self.step(rows.get(row).copied().unwrap_or(rows[0]));
                match located(error, || Some(self.pairing(rows)), step_of_row) {
                    (Some(row), error) => Ok(Err((rows.get(row).copied().unwrap_or(rows[0]), error))),
                    (None, error) => Err(error.into()),
                }
            }
        }
    }

    /// What some rows are compared with.
    fn pairing(&self, rows: &[usize]) -> Pairing {
        Pairing::new(rows.iter().map(|&row| self.rows[row].partner))
    }

    fn columns(&self, scorer: &Scorer<'_, B>, rows: &[usize]) -> Result<RowScores, StepError> {
        let steps = self.steps(scorer, rows)?;
        let mut columns = Vec::with_capacity(scorer.functions.len() + 2);
        for function in scorer.functions {
            let scores = function.score(&steps)?;
            let [found] = scores.dims();
            if found != rows.len() {
                return Err(StepError::Mismatch { what: "scores of a function", expected: rows.len(), found });
            }
            columns.push(host(scores));
        }
        columns.push(host(steps.log_prob()));
        columns.push(host(steps.prediction().entropy()));
        Ok(RowScores { columns, likely: likely(steps.prediction(), scorer.options.alternatives) })
    }

    /// The predictions of all passes at some rows.
    fn steps(&self, scorer: &Scorer<'_, B>, rows: &[usize]) -> Result<StepBatch<B>, StepError> {
        let model = scorer.model;
        let targets: Vec<u32> = rows.iter().map(|&row| self.rows[row].target).collect();
        let mut steps = StepBatch::new(model.logits(select(&self.hidden, rows)), &targets)?;
        if let Some((hidden, targets)) = &self.contrast {
            let pairing = self.pairing(rows);
            // Nothing of the contrast is computed if nothing is compared with it.
            let logits = pairing.compares().then(|| model.logits(select(hidden, pairing.partners())));
            steps = steps.with_contrast(pairing.contrast(logits, targets, &hidden.device())?)?;
        }
        if let Some(hidden) = &self.noisy {
            let samples = scorer.needs.noisy_samples;
            let all = (0..samples).flat_map(|sample| rows.iter().map(move |row| sample * self.rows.len() + row));
            let logits = model.logits(select(hidden, &all.collect::<Vec<_>>()));
            let [_, vocab] = logits.dims();
            steps = steps.with_noisy(logits.reshape([samples, rows.len(), vocab]))?;
        }
        Ok(steps)
    }
}

impl<'t> Member<'t> {
    fn original(&self) -> Reading<'t> {
        let steps = Steps::new(self.text.steps.clone()).at_mask(self.places.map(|places| places.own));
        // The last token is predicted and never read.
        Reading {
            source: self.text.source.as_deref(),
            target: &self.text.target[..steps.width()],
            places: steps.places(),
        }
    }

    fn contrasting(&self) -> Option<Reading<'t>> {
        let contrast = self.contrast?;
        let steps = Steps::new(contrast.steps()).at_mask(self.places.map(|places| places.contrast));
        Some(Reading {
            source: contrast.source.as_deref(),
            target: &contrast.target[..steps.width()],
            places: steps.places(),
        })
    }
}

/// One row per step of every text, with what it is compared with.
fn rows(members: &[Member<'_>]) -> Result<Vec<Row>, AttributionError> {
    let mut rows = Vec::new();
    let mut contrast_rows = 0;
    for (member, Member { text, contrast, .. }) in members.iter().enumerate() {
        let steps = text.steps.len();
        let partners = match contrast {
            Some(contrast) => {
                let others = contrast.steps().len();
                let first = contrast_rows;
                contrast_rows += others;
                let partners = contrast.alignment.partners(steps, others)?;
                partners.into_iter().map(|partner| partner.map(|partner| first + partner)).collect()
            }
            None => vec![None; steps],
        };
        let targets = &text.target[text.steps.clone()];
        let row = |(step, (&target, partner))| Row { member, step, target, partner };
        rows.extend(targets.iter().zip(partners).enumerate().map(row));
    }
    Ok(rows)
}

/// What a model reads of one text in one pass.
#[derive(Debug, Clone)]
struct Reading<'t> {
    source: Option<&'t [u32]>,
    target: &'t [u32],
    /// The places whose predictions are asked about.
    places: Range<usize>,
}

/// The last hidden states at the positions that are asked about, texts one after the other, `[rows, hidden]`.
fn hidden_rows<B: Backend>(
    model: &Model<B>,
    readings: &[Reading<'_>],
    dropout: &Dropout,
) -> Result<Tensor<B, 2>, AttributionError> {
    let targets = batch_of(model.decoder(), readings.iter().map(|reading| reading.target.to_vec()).collect())?;
    let sources = readings.iter().map(|reading| reading.source.unwrap_or_default().to_vec());
    let sources =
        model.encoder().map(|encoder| Ok::<_, AttributionError>((encoder, batch_of(encoder, sources.collect())?)));
    let sources = sources.transpose()?;
    let source = sources.as_ref().map(|(encoder, batch)| StackInput::embedded(batch, encoder.embed(batch)));
    let context = model.encode(source, dropout)?;
    let (last, first) = match dropout {
        // What several texts begin with, such as a prompt, runs once.
        Dropout::Off => {
            let first = readings.iter().map(|reading| reading.places.start).min().unwrap_or(0);
            (model.decode_tokens(&context, &targets, None, first)?, first)
        }
        _ => {
            let target = StackInput::embedded(&targets, model.decoder().embed(&targets));
            (model.decode(&context, target, dropout, None)?, 0)
        }
    };
    let places = |(text, reading): (usize, &Reading<'_>)| {
        let start = text * (targets.width() - first);
        start + reading.places.start - first..start + reading.places.end - first
    };
    let places: Vec<usize> = readings.iter().enumerate().flat_map(places).collect();
    Ok(select(&last, &places))
}

/// The same in as many passes with dropout as the functions need, sample after sample: `[samples · rows, hidden]`. As many at once as fit.
fn noisy_rows<B: Backend>(
    scorer: &Scorer<'_, B>,
    members: &[Member<'_>],
    readings: &[Reading<'_>],
) -> Result<Option<Tensor<B, 2>>, AttributionError> {
    let samples = scorer.needs.noisy_samples;
    if samples == 0 {
        return Ok(None);
    }
    let width = |len: fn(&Reading<'_>) -> usize| readings.iter().map(len).max().unwrap_or(0);
    let widths = [width(|reading| reading.source.map_or(0, <[u32]>::len)), width(|reading| reading.target.len()), 0, 0];
    let all: Vec<(u32, usize)> =
        (0..samples).flat_map(|sample| (0..members.len()).map(move |member| (sample as u32, member))).collect();
    let mut hidden = Vec::new();
    for group in all.chunks(scorer.limits().copies(widths)) {
        let pass = |&(sample, member): &(u32, usize)| NoisyPass { text: members[member].number as u32, sample };
        let passes = group.iter().map(pass).collect();
        let dropout = Dropout::On { seed: scorer.options.seed, passes, rates: scorer.options.rates };
        let readings: Vec<Reading<'_>> = group.iter().map(|&(_, member)| readings[member].clone()).collect();
        hidden.push(hidden_rows(scorer.model, &readings, &dropout)?);
    }
    Ok(Some(Tensor::cat(hidden, 0)))
}

fn host<B: Backend>(scores: Tensor<B, 1>) -> Vec<f32> {
    scores.into_data().iter::<f32>().collect()
}
