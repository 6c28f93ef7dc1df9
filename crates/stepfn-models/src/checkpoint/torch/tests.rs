//! Files that PyTorch wrote, files that nobody should open, and damaged ones.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};

use super::*;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/checkpoints/torch");

fn golden(file: &str) -> Vec<u8> {
    fs::read(format!("{GOLDENS}/{file}")).unwrap()
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F8_E4M3 => Element::F8E4m3,
        Dtype::F8_E5M2 => Element::F8E5m2,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I16 => Element::I16,
        Dtype::I8 => Element::I8,
        Dtype::U8 => Element::U8,
        Dtype::U16 => Element::U16,
        Dtype::BOOL => Element::Bool,
        other => panic!("{other:?} is in no golden file"),
    }
}

fn assert_holds(file: &str, bytes: &[u8], expected: &SafeTensors, left_out: &[&str]) {
    let found: BTreeMap<_, _> = parse(Path::new(file), bytes)
        .unwrap()
        .into_iter()
        .map(|tensor| (tensor.name.clone(), (tensor.element, tensor.shape.clone(), tensor.read(bytes).into_owned())))
        .collect();
    let expected: BTreeMap<_, _> = expected
        .tensors()
        .into_iter()
        .filter(|(name, _)| !left_out.contains(&name.as_str()))
        .map(|(name, view)| (name, (element(view.dtype()), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    assert_eq!(found, expected, "{file}");
}

#[test]
fn what_pytorch_saved_is_read() {
    for name in ["views", "module", "training", "nested"] {
        let expected = golden(&format!("{name}.safetensors"));
        let expected = SafeTensors::deserialize(&expected).unwrap();
        let protocols = ["protocol3", "protocol4", "protocol5"].into_iter().filter(|_| name == "views");
        for format in protocols.chain(["zip", "legacy"]) {
            let file = format!("{name}.{format}.bin");
            let left_out: &[_] = if format == "legacy" { &["f8_e4m3", "f8_e5m2", "u16"] } else { &[] };
            assert_holds(&file, &golden(&file), &expected, left_out);
        }
    }
}

#[test]
fn tied_tensors_share_their_bytes_and_contiguous_ones_are_not_copied() {
    for file in ["module.zip.bin", "module.legacy.bin", "views.zip.bin"] {
        let bytes = golden(file);
        let tensors = parse(Path::new(file), &bytes).unwrap();
        let named = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        if let Some((one, other)) = named("embedding.weight").zip(named("head.weight")) {
            assert_eq!(one.bytes, other.bytes);
        }
        for tensor in &tensors {
            let is_contiguous = !matches!(
                tensor.name.as_str(),
                "transposed"
                    | "strided"
                    | "column"
                    | "expanded"
                    | "permuted"
                    | "sliced"
                    | "bf16"
                    | "f8_e4m3"
                    | "i64"
                    | "i16"
                    | "frozen"
            );
            assert_eq!(matches!(tensor.read(&bytes), Cow::Borrowed(_)), is_contiguous, "{file}: {}", tensor.name);
        }
    }
}

/// A pickle with a header, in the format before 1.6, which needs no archive.
fn legacy(pickle: &[u8], keys: &[u8], storages: &[u8]) -> Vec<u8> {
    let version = b"\x80\x02M\xe9\x03.";
    let machine = b"\x80\x02}q\x00X\x0d\x00\x00\x00little_endianq\x01\x88s.";
    [legacy::START, version, machine, b"\x80\x02", pickle, b".\x80\x02", keys, b".", storages].concat()
}

fn message(bytes: &[u8]) -> String {
    tensors(bytes).unwrap_err()
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_by_name() {
    let cases: [(&[u8], &str); 9] = [
        (b"cos\nsystem\nX\x02\x00\x00\x00id\x85R", "`os.system`"),
        (b"cposix\nsystem\n(X\x02\x00\x00\x00idtR", "`posix.system`"),
        (b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x01x\x85R", "`builtins.eval`"),
        // getattr(torch, "load"), by way of a name that is allowed
        (
            b"ccollections\nOrderedDict\n0cbuiltins\ngetattr\n(ctorch\nSize\nX\x07\x00\x00\x00__new__tR",
            "`builtins.getattr`",
        ),
        (b"\x8c\x0btorch.utils\x8c\x10os.system.escape\x93", "`torch.utils.os.system.escape`"),
        (b"ctorch.storage\n_load_from_bytes\n", "`torch.storage._load_from_bytes`"),
        (b"(ios\nsystem\n", "`os.system`"),
        (b"c__main__\nModel\n)\x81}b", "`__main__.Model`"),
        (b"ctorch\nFloatStorage.__init__\n", "`torch.FloatStorage.__init__`"),
    ];
    for (pickle, name) in cases {
        for message in [message(&legacy(pickle, b"]", b"")), message(&[b"\x80\x02", pickle, b"."].concat())] {
            assert!(message.contains(name), "{message}");
            assert!(message.contains("not run") || message.contains("nothing was run"), "{message}");
        }
    }
}

#[test]
fn names_are_only_called_with_what_they_take() {
    for pickle in [
        &b"ctorch\nFloatStorage\nX\x01\x00\x00\x00x\x85R"[..],
        b"ctorch\nSize\nK\x01\x85R",
        b"ctorch._utils\n_rebuild_tensor_v2\nNK\x00))tR",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR",
        b"ctorch._utils\n_rebuild_parameter\nN\x85R",
        b"ccollections\nOrderedDict\nK\x05\x85R",
        b"K\x05)R",
        b"(X\x06\x00\x00\x00moduleNNNtQ",
        b"(X\x07\x00\x00\x00storageNNNtQ",
        b"P0\n",
        b"\x82\x01",
    ] {
        assert!(!message(&legacy(pickle, b"]", b"")).is_empty());
    }
}

/// `{"w": tensor}` with sizes and strides as given, in a memory of `elements` f32.
fn one_tensor(shape: &[i64], strides: &[i64], offset: i64, elements: u64) -> Vec<u8> {
    let integer = |value: &i64| [&b"\x8a\x08"[..], &value.to_le_bytes()].concat();
    let tuple = |values: &[i64]| [b"(", values.iter().flat_map(integer).collect::<Vec<_>>().as_slice(), b"t"].concat();
    let storage = [
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00kX\x03\x00\x00\x00cpu",
        integer(&elements.cast_signed()).as_slice(),
        b"NtQ",
    ]
    .concat();
    let arguments = [storage, integer(&offset), tuple(shape), tuple(strides)].concat();
    let pickle =
        [b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(", arguments.as_slice(), b"\x89}tRs"].concat();
    let values: Vec<u8> = (0..elements.min(100) as u32).flat_map(|value| (value as f32).to_le_bytes()).collect();
    legacy(&pickle, b"(X\x01\x00\x00\x00kl", &[&elements.to_le_bytes(), values.as_slice()].concat())
}

#[test]
fn a_tensor_must_lie_inside_its_memory() {
    let fits =
        |shape: &[i64], strides: &[i64], offset, elements| tensors(&one_tensor(shape, strides, offset, elements));
    assert_eq!(fits(&[2, 3], &[3, 1], 0, 6).unwrap()[0].shape, [2, 3]);
    assert_eq!(fits(&[2, 3], &[3, 1], 4, 10).unwrap()[0].offset, 4);
    assert_eq!(fits(&[1, 1, 3], &[i64::MAX, i64::MAX, 1], 7, 10).unwrap()[0].shape, [1, 1, 3]);
    assert_eq!(fits(&[0, 3], &[3, 1], 100, 6).unwrap()[0].shape, [0, 3]);
    for (shape, strides, offset, elements) in [
        (&[2, 3][..], &[3, 1][..], 1, 6),
        (&[2, 3], &[4, 1], 0, 6),
        (&[2, 3], &[i64::MAX, i64::MAX], 0, 6),
        (&[2], &[1], i64::MAX, 6),
        (&[2], &[-1], 1, 6),
        (&[-2], &[1], 0, 6),
        (&[i64::MAX], &[0], 0, 6),
        (&[i64::MAX, i64::MAX, i64::MAX], &[0, 0, 0], 0, 6),
        (&[1 << 30], &[0], 0, 6),
        (&[2, 3], &[1], 0, 6),
        (&[], &[], 0, 0),
        (&[2], &[1], 0, 1 << 40),
        (&[2], &[1], 0, u64::MAX / 4 + 1),
        (&[1; 65], &[1; 65], 0, 6),
    ] {
        assert!(fits(shape, strides, offset, elements).is_err(), "{shape:?} {strides:?} {offset} {elements}");
    }
}

/// Before PyTorch 0.4, a memory could be a part of another.
#[test]
fn a_part_of_a_memory_is_read() {
    let bytes = one_tensor(&[2], &[1], 1, 6);
    let at = bytes.windows(4).position(|window| window == b"NtQ\x8a").unwrap();
    let part = |start: u8, len: u8| {
        let view = [b"(X\x01\x00\x00\x00vK", &[start][..], b"K", &[len], b"ttQ"].concat();
        [&bytes[..at], &view, &bytes[at + 3..]].concat()
    };
    let read = |bytes: &[u8]| tensors(bytes).map(|tensors| tensors[0].read(bytes).into_owned());
    let expected = [4.0_f32, 5.0].map(f32::to_le_bytes).concat();
    assert_eq!(read(&part(3, 3)), Ok(expected));
    assert!(read(&part(3, 2)).is_err());
    assert!(read(&part(3, 4)).is_err());
}

#[test]
fn files_that_are_something_else_are_told_apart() {
    let zip = golden("module.zip.bin");
    for (bytes, part) in [
        (&b""[..], "is empty"),
        (b"version https://git-lfs", "not a PyTorch file"),
        (b"\x80\x02}.", "not one that PyTorch wrote"),
        (b"PK\x03\x04", "interrupted"),
        (&zip[..zip.len() - 30], "interrupted"),
        (&legacy(b"}", b"]", b""), "has no tensors"),
        (&legacy(b"K\x01", b"]", b""), "no dict"),
        (&legacy(b"}X\x05\x00\x00\x00epochK\x03s", b"]", b""), "only `epoch`"),
        (&legacy(b"}X\x05\x00\x00\x00modelh\x00s", b"]", b""), "before it has it"),
        // a dict in itself
        (&legacy(b"}q\x00X\x05\x00\x00\x00modelh\x00s", b"]", b""), "has no tensors"),
    ] {
        let message = message(bytes);
        assert!(message.contains(part), "{message}");
    }
}

/// However deep and often its values are nested and repeated.
#[test]
fn a_hostile_pickle_takes_time_in_proportion_to_its_length() {
    const MANY: usize = 1 << 20;
    let deep = |start: &[u8], step: &[u8]| [start, step.repeat(MANY / step.len()).as_slice(), b"."].concat();
    let start = Instant::now();
    for pickle in [
        deep(b"\x80\x02", b"("),
        deep(b"\x80\x02N", b"\x85"),
        deep(b"\x80\x02]", b"]a"),
        deep(b"\x80\x02}", b"N}s"),
        deep(b"\x80\x02]q\x00", b"h\x00a"),
        deep(b"\x80\x02N", b"2\x86"),
        deep(b"\x80\x02", b"]\x94"),
        // a list of 500000 pairs, made a dict over and over
        [
            b"\x80\x02(",
            b"))\x86".repeat(MANY / 6).as_slice(),
            b"lq\x00",
            deep(b"", b"ccollections\nOrderedDict\nh\x00\x85R").as_slice(),
        ]
        .concat(),
    ] {
        assert!(pickle::run(&pickle).is_err() || tensors(&pickle).is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// Reads whatever parses.
fn read_all(bytes: &[u8]) {
    for tensor in tensors(bytes).unwrap_or_default() {
        let expected = tensor.element.bytes(&tensor.shape).filter(|_| !tensor.shape.contains(&0)).unwrap_or(0);
        assert_eq!(tensor.read(bytes).len(), expected);
    }
}

const FILES: [&str; 5] =
    ["views.zip.bin", "views.legacy.bin", "views.protocol4.bin", "training.zip.bin", "training.legacy.bin"];

proptest! {
    #[test]
    fn a_truncated_file_is_an_error(file in 0..FILES.len(), cut in 1..4000_usize) {
        let bytes = golden(FILES[file]);
        let cut = &bytes[..bytes.len().saturating_sub(cut)];
        prop_assert!(tensors(cut).is_err());
    }

    #[test]
    fn damage_never_panics(file in 0..FILES.len(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = golden(FILES[file]);
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn any_pickle_is_read_or_refused(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&legacy(&pickle, b"]", b""));
        let _ = pickle::run(&pickle);
    }

    /// From the instructions that get furthest.
    #[test]
    fn any_program_is_run_or_refused(steps in prop::collection::vec(prop::sample::select(PARTS.as_slice()), 0..60)) {
        let pickle = steps.concat();
        read_all(&legacy(&pickle, b"(X\x01\x00\x00\x00kl", b"\x02\0\0\0\0\0\0\0........"));
    }
}

const PARTS: [&[u8]; 26] = [
    b"(", b"t", b"l", b"d", b")", b"]", b"}", b"s", b"u", b"a", b"e", b"R", b"Q", b"0", b"1", b"2", b"N", b"K\x02", b"K\x00", b"q\x00",
    b"h\x00", b"X\x01\x00\x00\x00k", b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00kNK\x02tQ",
    b"X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00kNK\x02tQK\x00K\x02\x85K\x01\x85\x89}tRs",
];
