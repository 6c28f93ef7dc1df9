//! Handmade attributions: a translation, a prompt with a contrast, and a text that tries to inject markup.

use stepfn_attribution::reliance::{ContextReliance, Cues, RelianceInfo};
use stepfn_attribution::{Attribution, Axis, Provenance, Scores};
use stepfn_models::tokenizer::Token;

/// Tokens of a text; those in `<>` are special.
fn tokens(surfaces: &[&str]) -> Vec<Token> {
    let mut start = 0;
    (surfaces.iter().enumerate())
        .map(|(at, surface)| {
            let special = surface.starts_with('<') && surface.ends_with('>') && !surface.contains("script");
            let span = start..start + if special { 0 } else { surface.len() };
            start = span.end;
            Token { id: at as u32 + 10, surface: (*surface).to_owned(), span, special }
        })
        .collect()
}

/// Numbered words.
pub(crate) fn words(count: usize) -> Vec<Token> {
    let words: Vec<String> = (0..count).map(|at| format!(" w{at}")).collect();
    tokens(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// "The chairman opened the meeting." into German, with both sides, signed.
pub(crate) fn translation() -> Attribution {
    let source = tokens(&["The", " chair", "man", " opened", " the", " meeting", ".", "</s>"]);
    let target = tokens(&["<pad>", "Der", " Vor", "sitz", "ende", " eröffnet", "e", " die", " Sitzung", ".", "</s>"]);
    // The source token that each step depends on most.
    let aligned = [0usize, 1, 1, 2, 3, 3, 4, 5, 6, 7];
    let mut attribution = Attribution::new(source, target, 1..11);
    let source_scores = (0..8).flat_map(|token| {
        aligned.iter().enumerate().map(move |(step, &main)| {
            let distance = (token as f32 - main as f32).abs();
            let sign = if (token + 2 * step) % 5 == 4 { -0.6 } else { 1.0 };
            sign * 0.9 * (-1.1 * distance).exp() + 0.02 * (token as f32 - 3.0) / (1.0 + step as f32)
        })
    });
    attribution.source_scores = Scores::per_token(8, 10, source_scores.collect()).ok();
    let target_scores = (0..11).flat_map(|token: usize| {
        (0..10usize).map(move |step| match (step + 1).checked_sub(token) {
            Some(distance) if distance > 0 => {
                0.35 * (-0.8 * (distance as f32 - 1.0)).exp() * if token == 0 { 0.3 } else { 1.0 }
            }
            _ => f32::NAN,
        })
    });
    attribution.target_scores = Scores::per_token(11, 10, target_scores.collect()).ok();
    attribution
        .step_scores
        .insert("probability".to_owned(), vec![0.83, 0.41, 0.97, 0.99, 0.52, 0.88, 0.76, 0.64, 0.93, 0.98]);
    attribution.step_scores.insert("entropy".to_owned(), vec![0.7, 2.3, 0.15, 0.05, 1.9, 0.5, 0.9, 1.4, 0.3, f32::NAN]);
    attribution.deltas = Some(vec![0.001, -0.002, 0.0, 0.0, 0.004, 0.001, -0.001, 0.002, 0.0, 0.0]);
    attribution.about = Provenance {
        method: "integrated_gradients".to_owned(),
        attributed_fn: "probability".to_owned(),
        model: "opus-mt-en-de".to_owned(),
        family: "marian".to_owned(),
        version: "0.1.0".to_owned(),
        backend: "flex f32".to_owned(),
        seed: 42,
        seconds: 0.42,
        ..Provenance::default()
    };
    attribution
}

/// A causal prompt and its continuation, with another pronoun as contrast; unsigned.
pub(crate) fn prompt() -> Attribution {
    let target = tokens(&[
        "The",
        " nurse",
        " told",
        " the",
        " doctor",
        " that",
        " she",
        " had",
        " finished",
        " the",
        " round",
        "s",
        ".",
    ]);
    let steps = 6..13;
    let mut attribution = Attribution::new(Vec::new(), target, steps);
    let scores = (0..13usize).flat_map(|token| {
        (6..13usize).map(move |step| {
            let distance = step as f32 - token as f32;
            match token {
                _ if token >= step => f32::NAN,
                1 if step == 6 => 0.9,
                4 if step == 6 => 0.5,
                _ => 0.6 * (-0.5 * distance).exp() + 0.03,
            }
        })
    });
    attribution.target_scores = Scores::per_token(13, 7, scores.collect()).ok();
    attribution.step_scores.insert("contrast_prob_diff".to_owned(), vec![0.31, 0.0, 0.02, -0.01, 0.0, 0.0, 0.0]);
    let he = Token { id: 5, surface: " he".to_owned(), span: 0..3, special: false };
    attribution.contrast = attribution.target[6..13].iter().map(|token| Some(token.clone())).collect();
    attribution.contrast[0] = Some(he);
    attribution.about = Provenance {
        method: "saliency".to_owned(),
        attributed_fn: "contrast_prob_diff".to_owned(),
        model: "gpt2".to_owned(),
        family: "gpt2".to_owned(),
        ..Provenance::default()
    };
    attribution
}

/// Markup, quotes, control characters, wide characters and a right-to-left word, with scores of two layers and three heads.
pub(crate) fn hostile() -> Attribution {
    let target = tokens(&[
        "<script>alert(1)</script>",
        " \"quoted\" & 'single'",
        "\u{1b}[31m",
        " 日本語",
        "\n",
        " שלום",
        " </script><!--",
        " end",
    ]);
    let mut attribution = Attribution::new(Vec::new(), target, 4..8);
    let inner = [(Axis::Token, 8), (Axis::Step, 4), (Axis::Layer, 2), (Axis::Head, 3)];
    let values = (0..8 * 4 * 6).map(|at| {
        let (token, step) = (at / 24, at / 6 % 4);
        if token < step + 4 { ((at * 7919) % 13) as f32 / 13.0 } else { f32::NAN }
    });
    let (axes, shape) = inner.into_iter().unzip();
    attribution.target_scores = Scores::new(axes, shape, values.collect()).ok();
    attribution.step_scores.insert("<b>odd</b> \"name\"".to_owned(), vec![1.0, f32::NAN, 3.0, -2.0]);
    attribution.about.method = "attention".to_owned();
    attribution.about.model = "</title><script>alert(2)</script>".to_owned();
    attribution
}

/// Arabic, Japanese and an emoji, whose characters are several tokens of bytes each, and an end token with nearly all of the scores.
pub(crate) fn scripts() -> Attribution {
    let mut target =
        tokens(&["<s>", r"\xD9", r"\x85", "رحبا", " 日", r"\xE6\x9C", r"\xAC", " ", r"\xF0\x9F\x98", r"\x80", "</s>"]);
    let spans = [0..0, 0..2, 0..2, 2..10, 10..14, 14..17, 14..17, 17..18, 18..22, 18..22, 22..22];
    target.iter_mut().zip(spans).for_each(|(token, span)| token.span = span);
    let mut attribution = Attribution::new(Vec::new(), target, 1..11);
    let score = |at: usize| match (at / 10, at % 10) {
        (token, step) if token > step => f32::NAN,
        (0, _) => 0.9,
        (token, step) => 0.001 * (token + step) as f32,
    };
    attribution.target_scores = Scores::per_token(11, 10, (0..110).map(score).collect()).ok();
    attribution.step_scores.insert("probability".to_owned(), vec![0.5, 0.9, 3e-6, 0.2, 0.7, 0.8, 0.9, 0.1, 0.99, 0.9]);
    attribution.deltas = Some(vec![1e-16; 10]);
    attribution.about.method = "saliency".to_owned();
    attribution
}

fn parts(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// The reliance of a translated question on the sentence before it, with markup and an escape in a token.
pub(crate) fn reliance() -> ContextReliance {
    let cue = |at: usize, score: f32, other: &str, scores: Vec<f32>| Cues {
        cti_idx: at,
        cti_token: ["Où ", "sont", "-elles", "?"][at].to_owned(),
        cti_score: score,
        contextual_output: "Où sont-elles".to_owned(),
        contrast_token: Some(other.to_owned()),
        contextless_output: Some(format!("Où sont{other}")),
        input_context_scores: Some(scores),
        output_context_scores: None,
    };
    ContextReliance {
        id: 1.into(),
        fields: Default::default(),
        input_context: Some("The girls <b>were\u{1b} away.".to_owned()),
        input_context_tokens: Some(parts("The girls <b>were\u{1b} away.")),
        output_context: None,
        output_context_tokens: None,
        output_current: "Où sont-elles?".to_owned(),
        output_current_tokens: ["Où ", "sont", "-elles", "?"].map(str::to_owned).to_vec(),
        cti_scores: vec![0.5, 0.1, 1.36, 0.08],
        cci_scores: vec![cue(2, 1.36, "-ils", vec![0.01, 0.9, 0.02, 0.03]), cue(0, 0.5, "Où ", vec![0.2; 4])],
        info: RelianceInfo {
            attribution_method: "saliency".to_owned(),
            attributed_fn: Some("contrast_prob_diff".to_owned()),
            context_sensitivity_metric: "kl_divergence".to_owned(),
            input_current_text: "Where are they?".to_owned(),
            context_sensitivity_std_threshold: Some(0.0),
            attribution_std_threshold: Some(1.0),
            cti_threshold: 0.51,
            ..RelianceInfo::default()
        },
        about: Default::default(),
    }
}
