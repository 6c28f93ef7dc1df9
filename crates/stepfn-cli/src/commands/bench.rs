//! `stepfn bench`: measures this machine, and compares it with others.

mod reports;

use core::time::Duration;
use std::io;
use std::path::Path;
use std::time::Instant;

use stepfn::backend::{Devices, OnBackend, Place, type_name};
use stepfn::writers::number;
use stepfn::{Error, Model, nearest};
use stepfn_bench::machine::{self, Memory};
use stepfn_bench::measure::{measure, wait};
use stepfn_bench::operations::Needed;
use stepfn_bench::report::{BURN, Case, Machine, Measured, Outcome, Peak, Row};
use stepfn_bench::workload::Limits;
use stepfn_bench::{BenchError, Lengths, Report, Shape, Work, Workload};

use self::reports::{Written, compare_files, shown};
use super::loading::{dispatch, load};
use super::unused;
use crate::args::{BenchArgs, GenerationArgs};
use crate::failure::Failure;
use crate::memory;
use crate::progress::{Extent, Teller};

/// Measures, or compares earlier measurements.
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    if !args.compare.is_empty() {
        return compare_files(args);
    }
    let plan = Plan::new(args)?;
    dispatch(&args.place, Bench { args, plan })
}

/// What is measured.
struct Plan {
    /// Empty if a model is measured instead.
    shapes: Vec<Shape>,
    works: Vec<Work>,
    all_lengths: Vec<Lengths>,
    repeats: usize,
    /// Time for each row.
    budget: Duration,
    /// Time for measuring the machine's peak.
    for_peak: Duration,
}

impl Plan {
    fn new(args: &BenchArgs) -> Result<Self, Failure> {
        let quick = args.quick;
        unused::check_once("--shape", &args.shape, String::clone)?;
        unused::check_once("--work", &args.work, String::clone)?;
        unused::check_once("--length", &args.length, usize::to_string)?;
        unused::check_once("--batch", &args.batch, usize::to_string)?;
        let or = |given: &[usize], default: &[usize]| if given.is_empty() { default } else { given }.to_vec();
        let shapes = match (args.place.model.is_some(), args.shape.is_empty(), quick) {
            (true, ..) => Vec::new(),
            (_, true, true) => vec![Shape::Tiny],
            (_, true, false) => Shape::PUBLISHED.to_vec(),
            (_, false, _) => known("shape", &args.shape, &Shape::ALL.map(Shape::name), Shape::find)?,
        };
        let works = match args.work.is_empty() {
            true => Work::TYPICAL.to_vec(),
            false => known("work", &args.work, &Work::ALL.map(Work::name), Work::find)?,
        };
        let lengths = or(&args.length, if quick { &[16] } else { &[32, 128] });
        let batches = or(&args.batch, if quick { &[1, 2] } else { &[1, 8] });
        let of_length = |&length: &usize| batches.iter().map(move |&batch| Lengths::halves(length, batch));
        Ok(Self {
            shapes,
            works,
            all_lengths: lengths.iter().flat_map(of_length).collect(),
            repeats: args.repeats.unwrap_or(if quick { 2 } else { 5 }),
            budget: Duration::from_secs_f64(args.seconds.unwrap_or(if quick { 1.0 } else { 2.0 })),
            for_peak: Duration::from_millis(if quick { 200 } else { 4000 }),
        })
    }

    /// Number of positions that a model needs.
    fn positions(&self) -> usize {
        self.all_lengths.iter().map(|lengths| lengths.prompt + lengths.target).max().unwrap_or(0)
    }

    fn rows(&self) -> usize {
        self.shapes.len().max(1) * self.works.len() * self.all_lengths.len()
    }
}

/// The values that an option's names stand for.
fn known<T>(
    option: &str,
    names: &[String],
    known: &[&'static str],
    find: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Failure> {
    let one = |name: &String| {
        find(name).ok_or_else(|| {
            let nearest = nearest(name, known.iter().copied());
            let meant = nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"));
            let what = format!("--{option}: there is no {option} `{name}`{meant}");
            Failure::usage(what, format!("take some of {}", known.join(", ")))
        })
    };
    names.iter().map(one).collect()
}

struct Bench<'a> {
    args: &'a BenchArgs,
    plan: Plan,
}

impl OnBackend for Bench<'_> {
    type Output = Result<(), Failure>;

    fn run<D: Devices>(self) -> Result<(), Failure> {
        let Self { args, plan } = self;
        let place = Place::<D>::new(&args.place.device, args.place.dtype.dtype())?;
        let teller = Teller::counting(&args.to, Extent::Texts(plan.rows()), "rows");
        if cfg!(debug_assertions) && !args.quick {
            teller.warn(
                "this program was built without optimization, and its times mean little: build it with --release",
            );
        }
        // Report a model that can't be loaded before measuring anything.
        let real = match args.place.model {
            Some(_) => Some(load::<D>(&args.place, &GenerationArgs::default(), args.to.quiet)?),
            None => None,
        };
        if real.as_ref().is_some_and(stepfn::LanguageModel::is_masked) {
            let what = "this model predicts masked tokens, and only models that predict what comes next are measured";
            return Err(Failure::usage(what, "take another model, or leave out --model"));
        }
        let names = match &real {
            Some(loaded) => vec![title(loaded.name())],
            None => plan.shapes.iter().map(|shape| shape.name().to_owned()).collect(),
        };
        let host = if D::NAME == "cpu" { Memory::Host } else { Memory::Device };
        let peak = machine::peak::<D::Backend>(&place.device, place.dtype, host, plan.for_peak)?;
        let memory = args.place.memory.unwrap_or_else(|| place.memory());
        let limits = Limits { seed: args.place.seed, memory, batch_tokens: args.batches.batch_tokens };
        let report = Report::new(describe(&place), peak, limits);
        let written = Written::open(args, report, &names, &plan)?;
        let mut run = Run { plan: &plan, place: &place, peak, limits, teller, written, done: 0, failed: 0 };
        match &real {
            Some(loaded) => run.model(&names[0], loaded.model())?,
            None => {
                for &shape in &plan.shapes {
                    let started = Instant::now();
                    let model = shape.model::<D::Backend>(plan.positions(), place.dtype, &place.device);
                    let model = model.map_err(Error::from)?;
                    wait::<D::Backend>(&place.device)?;
                    let seconds = started.elapsed().as_secs_f64();
                    run.teller.note(|| format!("{} on {}: made in {seconds:.2} s", shape.name(), place.info));
                    run.model(shape.name(), &model)?;
                }
            }
        }
        run.finish()
    }
}

fn describe<D: Devices>(place: &Place<D>) -> Machine {
    Machine {
        stepfn: env!("CARGO_PKG_VERSION").to_owned(),
        burn: BURN.to_owned(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        backend: D::NAME.to_owned(),
        device: place.info.name.clone(),
        // wgpu's device names include the driver.
        driver: if D::NAME == "cuda" { machine::nvidia_driver() } else { None },
        memory: place.info.memory,
        dtype: type_name(place.dtype).to_owned(),
        threads: machine::threads(),
    }
}

/// The state of a run.
struct Run<'a, D: Devices> {
    plan: &'a Plan,
    place: &'a Place<D>,
    peak: Peak,
    limits: Limits,
    teller: Teller,
    written: Written,
    done: usize,
    failed: usize,
}

impl<D: Devices> Run<'_, D> {
    /// All rows of a model.
    fn model(&mut self, name: &str, model: &Model<D::Backend>) -> Result<(), Failure> {
        for &work in &self.plan.works {
            for &lengths in &self.plan.all_lengths {
                let case = Case { model: name.to_owned(), work, lengths };
                let outcome = self.outcome(model, work, lengths).unwrap_or_else(|error| {
                    self.failed += 1;
                    let place = format!("{name} {work} {}", shown(lengths));
                    self.teller.suspended(|| Failure::from(error.clone()).at(&place).report(&mut io::stderr()));
                    Outcome::Failed { error: error.to_string() }
                });
                self.done += 1;
                let (teller, written) = (&self.teller, &mut self.written);
                teller.suspended(|| written.row(&Row { case, outcome }))?;
                self.teller.done(self.done);
            }
        }
        Ok(())
    }

    fn outcome(&self, model: &Model<D::Backend>, work: Work, lengths: Lengths) -> Result<Outcome, BenchError> {
        let config = model.config();
        if let Some(most) = lengths.exceeds(config) {
            let left_out = format!("the model has {most} positions");
            return Ok(Outcome::LeftOut { left_out });
        }
        let needed = Needed::new(config, work, lengths, self.place.dtype.size());
        let least = self.peak.seconds(needed);
        if 2.0 * least > self.plan.budget.as_secs_f64() {
            let left_out =
                format!("a call takes {} s at least; give --seconds {:.0}", number(least), (6.0 * least).ceil());
            return Ok(Outcome::LeftOut { left_out });
        }
        let workload = Workload::new(model, lengths, self.limits);
        memory::give_back();
        machine::reset_peak_memory();
        let times =
            measure::<D::Backend>(&self.place.device, self.plan.repeats, self.plan.budget, || workload.run(work))?;
        Ok(Outcome::Measured(Measured::new(&times, lengths, needed, self.peak, machine::peak_memory())))
    }

    fn finish(self) -> Result<(), Failure> {
        self.written.finish()?;
        match self.failed {
            0 => Ok(()),
            failed => {
                let what = format!("{failed} of {} rows failed, as reported above", self.done);
                Err(Failure::work(what, "use shorter texts, or fewer at once; the other rows have their results"))
            }
        }
    }
}

/// The name of a model in a report: the last part of a path, because the same model is elsewhere on another machine.
fn title(name: &str) -> String {
    let path = Path::new(name).canonicalize().ok();
    path.as_deref()
        .and_then(Path::file_name)
        .map_or_else(|| name.to_owned(), |last| last.to_string_lossy().into_owned())
}
