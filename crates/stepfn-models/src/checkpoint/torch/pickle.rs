//! A pickle machine that can build tensors, and nothing else.
//!
//! A pickle is a program for a stack machine. In Python it may import and call anything; here a name that is not in
//! [`Global`](super::globals::Global) ends it, and those names are no code. It takes time and memory in proportion to the pickle's length:
//! each instruction costs what it reads or what it takes from the stack.

use std::collections::HashMap;

use super::globals::{self, Global};
use super::reader::Reader;
use super::value::{Objects, Value};

/// Bytes that a pickle may have. Published ones describe thousands of tensors in less than a tenth.
const MOST: usize = 32 << 20;

/// The result of a pickle.
#[derive(Debug)]
pub(super) struct Unpickled<'a> {
    pub(super) value: Value<'a>,
    pub(super) objects: Objects<'a>,
    /// Bytes that it took.
    pub(super) len: usize,
}

/// Runs the pickle at the start of `bytes`.
pub(super) fn run(bytes: &[u8]) -> Result<Unpickled<'_>, String> {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let mut machine = Machine { reader: Reader::new(bytes), budget: bytes.len(), ..Machine::default() };
    loop {
        let at = machine.reader.at();
        let step = machine.reader.byte().and_then(|opcode| machine.step(opcode));
        if let Some(value) = step.map_err(|reason| describe(&reason, at, bytes.len()))? {
            return Ok(Unpickled { value, objects: machine.objects, len: machine.reader.at() });
        }
    }
}

fn describe(reason: &str, at: usize, len: usize) -> String {
    match len {
        MOST => format!("{reason} (at byte {at} of a pickle, of which {MOST} bytes are read)"),
        _ => reason.to_owned(),
    }
}

#[derive(Default)]
struct Machine<'a> {
    reader: Reader<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    objects: Objects<'a>,
    /// List items that may still be read again.
    budget: usize,
}

impl<'a> Machine<'a> {
    /// One instruction; the result if it was the last one. Letters are those of Python's `pickletools`.
    fn step(&mut self, opcode: u8) -> Result<Option<Value<'a>>, String> {
        match opcode {
            b'.' => return self.pop().map(Some),
            // PROTO, FRAME
            0x80 => drop(self.reader.take(1)?),
            0x95 => drop(self.reader.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.pop_if(|mark| *mark == self.stack.len()) {
                Some(_) => {}
                None => drop(self.pop()?),
            },
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' | b'K' | b'M' | b'I' | b'L' | 0x8a | 0x8b => {
                let integer = self.integer(opcode)?;
                self.stack.push(integer);
            }
            b'G' | b'F' | b'T' | b'U' | b'S' | b'B' | b'C' | 0x8e | 0x96 | b'X' | 0x8c | 0x8d | b'V' => {
                let value = self.scalar(opcode)?;
                self.stack.push(value);
            }
            b']' | b')' | b'}' | 0x8f | b'l' | b't' | b'd' | 0x85..=0x87 | 0x91 => self.collection(opcode)?,
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(opcode)?,
            b'q' | b'r' | b'p' | 0x94 => {
                let key = match opcode {
                    0x94 => self.memo.len() as u64,
                    _ => self.memo_key(opcode)?,
                };
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' | b'g' => {
                let key = self.memo_key(opcode)?;
                let value = *self.memo.get(&key).ok_or("the pickle uses a value before it has it")?;
                self.stack.push(value);
            }
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.build(opcode)?,
            b'i' | b'o' => {
                let (module, name) = match opcode {
                    b'i' => (self.reader.line()?, self.reader.line()?),
                    _ => ("the class of an object", "old style"),
                };
                return Err(globals::refused(module, name));
            }
            _ => return Err(format!("the pickle has an instruction that no saved tensors need, number {opcode}")),
        }
        Ok(None)
    }

    fn memo_key(&mut self, opcode: u8) -> Result<u64, String> {
        match opcode {
            b'q' | b'h' => self.reader.byte().map(u64::from),
            b'r' | b'j' => self.reader.u32().map(u64::from),
            _ => self.reader.line()?.parse().map_err(|_| "the pickle numbers a value with no number".to_owned()),
        }
    }

    fn integer(&mut self, opcode: u8) -> Result<Value<'a>, String> {
        let len = match opcode {
            b'J' => return Ok(Value::Integer(self.reader.u32()?.cast_signed().into())),
            b'K' => return Ok(Value::Integer(self.reader.byte()?.into())),
            b'M' => return Ok(Value::Integer(self.reader.u16()?.into())),
            b'I' | b'L' => {
                let line = self.reader.line()?;
                return Ok(match line {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    _ => line.trim_end_matches('L').parse().map_or(Value::Other, Value::Integer),
                });
            }
            0x8a => self.reader.byte()?.into(),
            _ => self.reader.u32()? as usize,
        };
        // Two's complement, shortest form.
        let bytes = self.reader.take(len)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = if negative { [0xff; 8] } else { [0; 8] };
        Ok(match whole.get_mut(..len) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Integer(i64::from_le_bytes(whole))
            }
            None => Value::Other,
        })
    }

    /// Texts, and numbers and bytes that no tensor needs.
    fn scalar(&mut self, opcode: u8) -> Result<Value<'a>, String> {
        let len = match opcode {
            b'G' => 8,
            b'F' => {
                self.reader.line()?;
                return Ok(Value::Other);
            }
            b'V' | b'S' => {
                let line = self.reader.line()?;
                let text =
                    if opcode == b'S' { line.get(1..line.len().saturating_sub(1)).unwrap_or_default() } else { line };
                return Ok(if text.contains('\\') { Value::Other } else { Value::Text(text) });
            }
            b'U' | b'C' | 0x8c => self.reader.byte()?.into(),
            b'T' | b'B' | b'X' => self.reader.u32()? as usize,
            _ => self.reader.u64()?,
        };
        let bytes = self.reader.take(len)?;
        Ok(match opcode {
            b'X' | 0x8c | 0x8d => {
                Value::Text(core::str::from_utf8(bytes).map_err(|_| "the pickle has a text that is no UTF-8")?)
            }
            // What Python 2 called a string may be text or bytes.
            b'T' | b'U' => core::str::from_utf8(bytes).map_or(Value::Other, Value::Text),
            _ => Value::Other,
        })
    }

    /// Makes tuples, lists, dicts and sets.
    fn collection(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b')' => Value::EmptyTuple,
            b']' => self.objects.list(Vec::new()),
            b'}' => self.objects.dict(Vec::new()),
            0x8f => Value::Other,
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let items = self.take_from(self.stack.len().checked_sub(len).ok_or(EMPTY)?)?;
                self.objects.tuple(items)
            }
            _ => {
                let items = self.above_mark()?;
                match opcode {
                    b't' => self.objects.tuple(items),
                    b'l' => self.objects.list(items),
                    b'd' => self.objects.dict(pairs(&items)?),
                    _ => Value::Other,
                }
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Adds to the list, dict or set below.
    fn extend(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.above_mark()?,
        };
        match (opcode, self.top()?) {
            (b'a' | b'e', Value::List(index)) => {
                self.objects.items.get_mut(index).ok_or(EMPTY)?.extend(items);
            }
            (b's' | b'u', Value::Dict(index)) => {
                let added = pairs(&items)?;
                self.objects.dicts.get_mut(index).ok_or(EMPTY)?.extend(added);
            }
            (_, Value::Other) => {}
            _ => return Err("the pickle adds to something that is no list and no dict".to_owned()),
        }
        Ok(())
    }

    /// Finds names and calls them.
    fn build(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b'c' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                Value::Global(Global::find(module, name)?)
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => Value::Global(Global::find(module, name)?),
                _ => return Err("the pickle asks for a name that is no text".to_owned()),
            },
            // An object's attributes: of a tensor, or of a state dict, which has a version number in them.
            b'b' => {
                self.pop()?;
                return self.top().map(drop);
            }
            b'Q' => {
                let id = self.pop()?;
                globals::persistent(id, &mut self.objects)?
            }
            _ => {
                if opcode == 0x92 {
                    self.pop()?;
                }
                let arguments = self.pop()?;
                match self.pop()? {
                    Value::Global(global) => global.call(arguments, &mut self.objects, &mut self.budget)?,
                    _ => return Err("the pickle calls something that can't be called".to_owned()),
                }
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// The height above which this part of the pickle may use the stack.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value<'a>, String> {
        let above = self.stack.len() > self.floor();
        Ok(*self.stack.last().filter(|_| above).ok_or(EMPTY)?)
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn take_from(&mut self, height: usize) -> Result<Vec<Value<'a>>, String> {
        if height < self.floor() || height > self.stack.len() {
            return Err(EMPTY.to_owned());
        }
        Ok(self.stack.split_off(height))
    }

    /// Everything above the last mark.
    fn above_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or(EMPTY)?;
        self.take_from(mark)
    }
}

const EMPTY: &str = "the pickle takes a value where there is none";

fn pairs<'a>(items: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("the pickle has a key without a value".to_owned()),
    }
}
