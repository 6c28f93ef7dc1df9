//! How byte-level vocabularies split a text into words, by the names that llama.cpp gave them. Patterns are those of the published
//! `tokenizer.json` of the models that they are named after.

/// A way to split texts.
pub(super) struct Splitting {
    /// `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    /// What splits, in order. Bytes are written as characters after the last.
    pub(super) steps: &'static [Step],
    /// Whether letters and marks are composed first (NFC).
    pub(super) composes: bool,
    /// Whether a word that is a token as a whole is not merged from parts.
    pub(super) whole_words: bool,
    /// Whether a text starts with the BOS token, if the file doesn't say it.
    pub(super) begins: bool,
}

/// One step; the next is applied to each piece.
pub(super) enum Step {
    /// Each match of a pattern is a piece, and so is what is between them.
    Matches(&'static str),
    /// Each digit.
    Digits,
    /// Adjacent punctuation.
    Punctuation,
    /// GPT-2's words, and bytes as characters. If this is not the last step, the next ones see these characters.
    Words,
}

use Step::{Digits, Matches, Punctuation, Words};

/// Llama 3: words, numbers of up to three digits, punctuation and whitespace.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2: the same with single digits.
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 3.5: the same with marks in words.
const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-4o: words also end where a capital follows a small letter.
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Mistral NeMo: the same with single digits and without contractions.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Seed-Coder.
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Ling.
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
/// BLOOM: what is between punctuation.
const BLOOM: &str = r" ?[^(\s|[.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C}])]+";
/// DeepSeek 3, after numbers and ideographs.
const DEEPSEEK_3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// DeepSeek LLM: letters of scripts with capitals.
const CASED: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}",
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}",
    r"\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}",
    r"\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}",
    r"\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}",
    r"\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}",
    r"\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}",
    r"\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}",
    r"\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}",
    r"\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}",
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}",
    r"\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+",
);
const IDEOGRAPHS: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const KANA: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";

const PLAIN: Splitting = Splitting { names: &[], steps: &[Words], composes: false, whole_words: false, begins: false };

static SPLITTINGS: [Splitting; 21] = [
    Splitting {
        names: &[
            "gpt-2",
            "phi-2",
            "jais",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "trillion",
            "granite-docling",
            "modern-bert",
        ],
        ..PLAIN
    },
    // All have the tokenizer of GPT-NeoX.
    Splitting { names: &["mpt", "olmo"], composes: true, ..PLAIN },
    Splitting {
        names: &["starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: &[Digits, Words],
        ..PLAIN
    },
    Splitting { names: &["command-r"], steps: &[Digits, Words], composes: true, ..PLAIN },
    Splitting {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        steps: &[Matches(LLAMA_3)],
        whole_words: true,
        begins: true,
        ..PLAIN
    },
    Splitting { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], steps: &[Matches(LLAMA_3)], ..PLAIN },
    Splitting { names: &["glm4", "glm5"], steps: &[Matches(LLAMA_3)], whole_words: true, ..PLAIN },
    Splitting {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2"],
        steps: &[Matches(QWEN_2)],
        composes: true,
        ..PLAIN
    },
    Splitting { names: &["stablelm2", "hunyuan", "solar-open", "grok-2"], steps: &[Matches(QWEN_2)], ..PLAIN },
    Splitting { names: &["qwen35"], steps: &[Matches(QWEN_35)], composes: true, ..PLAIN },
    Splitting { names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], steps: &[Matches(GPT_4O)], ..PLAIN },
    Splitting { names: &["tekken"], steps: &[Matches(TEKKEN)], whole_words: true, begins: true, ..PLAIN },
    Splitting {
        names: &["tiny_aya", "cohere2moe"],
        steps: &[Matches(r"\d{1,3}(?=(?:\d{3})*\b)"), Matches(GPT_4O)],
        ..PLAIN
    },
    Splitting { names: &["seed-coder"], steps: &[Matches(SEED_CODER)], ..PLAIN },
    Splitting { names: &["bailingmoe", "bailingmoe2", "llada-moe"], steps: &[Matches(BAILING)], ..PLAIN },
    Splitting { names: &["bloom", "poro-chat", "gpt3-finnish"], steps: &[Matches(BLOOM)], ..PLAIN },
    Splitting { names: &["viking"], steps: &[Matches(BLOOM), Digits], ..PLAIN },
    Splitting { names: &["falcon"], steps: &[Punctuation, Words, Matches("[0-9][0-9][0-9]")], ..PLAIN },
    Splitting {
        names: &["deepseek-llm"],
        steps: &[
            Matches(r"[\r\n]"),
            Matches(CASED),
            Matches(r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"),
            Matches(r"\s+$"),
            Matches(IDEOGRAPHS),
            Digits,
        ],
        ..PLAIN
    },
    Splitting {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[Matches(r"\p{N}{1,3}"), Matches(KANA), Matches(DEEPSEEK_3)],
        ..PLAIN
    },
    Splitting {
        names: &["deepseek-coder"],
        steps: &[Matches(r"[\r\n]"), Matches(r"\s?\p{L}+"), Matches(r"\s?\p{P}+"), Matches(IDEOGRAPHS), Digits],
        ..PLAIN
    },
];

impl Splitting {
    /// The way with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SPLITTINGS.iter().find(|splitting| splitting.names.contains(&name))
    }

    /// All names.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        SPLITTINGS.iter().flat_map(|splitting| splitting.names.iter().copied())
    }
}
