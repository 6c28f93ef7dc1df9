//! Arguments of which each is one of a few words.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ViewFormat {
    /// A heat map, in colours on a terminal
    Table,
    /// An object, or a list of them for several texts
    Json,
    /// An object per line
    Jsonl,
    /// A line per score
    Csv,
    /// What Python's inseq reads
    Inseq,
}

impl ViewFormat {
    /// The form of what is written text by text.
    pub(crate) fn form(self) -> Format {
        match self {
            Self::Table => Format::Table,
            // A whole file of all texts.
            Self::Json | Self::Inseq => Format::Json,
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// An object, or a list of them for several texts
    Json,
    /// An object per line
    Jsonl,
    /// A line per token
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// The CPU
    Cpu,
    /// GPUs through Vulkan, Metal or DirectX 12
    Wgpu,
    /// NVIDIA GPUs
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
}
