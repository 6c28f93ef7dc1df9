//! What is seen of texts as they are read: fields that none has or nothing reads, ids of several.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use stepfn::writers::plain;
use stepfn::{Input, Value};

use crate::progress::locked;

/// What is seen of texts as they are read, for warnings when all of them were.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Watched>>);

/// Texts whose ids are compared with later ones, so that memory doesn't grow with the file.
const MOST_WATCHED: usize = 1_000_000;

#[derive(Default)]
struct Watched {
    hasher: RandomState,
    /// Fields to keep that no text had so far.
    missing: Vec<String>,
    /// Hashes of the ids of the first texts.
    ids: HashSet<u64>,
    /// The first id that an earlier text had, with its line, and the number of such texts.
    again: Option<(String, usize)>,
    repeated: usize,
    /// Fields that nothing reads, why, and how many texts have them.
    unread: Vec<(&'static str, &'static str, usize)>,
    /// Whether some text is a chat, if options say how chats are written.
    chats: Option<(&'static str, bool)>,
}

impl Watch {
    /// Of texts whose fields in `keep` travel with them, and which have all of `common`.
    pub(super) fn new(keep: &[String], common: &Input) -> Self {
        let missing = keep.iter().filter(|field| *field != "*").cloned().collect();
        let of_chats =
            [("--chat-template", common.chat_template.is_some()), ("--chat-set", !common.chat_variables.is_empty())];
        let chats = of_chats.into_iter().find_map(|(option, is_given)| is_given.then_some((option, false)));
        Self(Arc::new(Mutex::new(Watched { missing, chats, ..Watched::default() })))
    }

    /// Says which fields nothing reads, and why.
    pub(super) fn expect_unread(&self, fields: &[&'static str], why: &'static str) {
        locked(&self.0).unread.extend(fields.iter().map(|field| (*field, why, 0)));
    }

    /// Sees a text and its id, of this line.
    pub(super) fn see(&self, id: &Value, line: usize, input: &stepfn::Result<Input>) {
        let mut watched = locked(&self.0);
        if let Ok(input) = input {
            watched.missing.retain(|field| !input.fields.contains_key(field));
        }
        if let (Ok(input), Some((_, is_seen))) = (input, &mut watched.chats) {
            *is_seen |= !input.messages.is_empty();
        }
        let id = plain(id);
        let hash = watched.hasher.hash_one(&id);
        if watched.ids.contains(&hash) {
            watched.repeated += 1;
            watched.again.get_or_insert((id, line));
        } else if watched.ids.len() < MOST_WATCHED {
            watched.ids.insert(hash);
        }
    }

    /// Takes the fields that nothing reads out of a text, and counts them.
    pub(super) fn drop_unread(&self, input: &mut Input) {
        for (field, _, texts) in &mut locked(&self.0).unread {
            let part = match *field {
                "target" => &mut input.target,
                "contrast_source" => &mut input.contrast_source,
                "contrast_target" => &mut input.contrast_target,
                _ => continue,
            };
            *texts += usize::from(part.take().is_some());
        }
    }

    /// What is wrong with the texts together.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let watched = locked(&self.0);
        let missing = watched.missing.iter().filter(|_| !watched.ids.is_empty());
        let missing = missing.map(|field| format!("--keep {field}: no text has this field"));
        let again = watched.again.iter().map(|(id, line)| match watched.repeated {
            1 => format!("the id {id} of line {line} is that of an earlier text, too"),
            texts => format!("{texts} texts have the id of an earlier text, the first of them in line {line}: {id}"),
        });
        let unread = watched.unread.iter().filter(|(.., texts)| *texts > 0).map(|(field, why, texts)| match texts {
            1 => format!("one text has the field `{field}`, which nothing reads: {why}"),
            texts => format!("{texts} texts have the field `{field}`, which nothing reads: {why}"),
        });
        let chats = watched.chats.filter(|(_, is_seen)| !is_seen && !watched.ids.is_empty());
        let chats = chats.map(|(option, _)| format!("{option}: no text has `messages`, so there is no chat to write"));
        missing.chain(again).chain(unread).chain(chats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Inputs;
    use super::super::tests::lines_of;
    use super::*;

    #[test]
    fn fields_that_no_text_has_and_ids_of_several_are_found() {
        let warnings = |text: &'static [u8], keep: &[&str]| {
            let mut lines = lines_of(text, keep, Input::default());
            let watch = lines.watch.clone();
            lines.by_ref().for_each(drop);
            watch.warnings()
        };
        let text = b"{\"source\": \"a\", \"item\": 3}\n{\"id\": \"1\", \"source\": \"a\"}\n";
        assert_eq!(
            warnings(text, &["item", "itme"]),
            ["--keep itme: no text has this field", "the id 1 of line 2 is that of an earlier text, too"]
        );
        assert_eq!(warnings(b"{\"source\": \"a\"}\n", &["*"]), [""; 0]);
        assert_eq!(warnings(b"", &["item"]), [""; 0]);
        let thrice = b"{\"id\": 7, \"source\": \"a\"}\n{\"id\": 7}\n{\"id\": 7, \"source\": \"a\"}\n";
        assert_eq!(warnings(thrice, &[]), ["2 texts have the id of an earlier text, the first of them in line 2: 7"]);
    }

    #[test]
    fn fields_that_nothing_reads_are_dropped_and_counted() {
        let text = b"{\"source\": \"a\", \"target\": \"b\"}\n{\"source\": \"a\", \"target\": \"c\", \"contrast_source\": \"d\"}\n";
        let lines = lines_of(text, &[], Input::default());
        let inputs = Inputs::Lines(Box::new(lines)).without(&["target", "contrast_source", "contrast_target"], "why");
        let watch = inputs.watch();
        assert!(
            inputs
                .map(|named| named.input.unwrap())
                .all(|input| input == Input { place: input.place.clone(), ..Input::source("a") })
        );
        assert_eq!(
            watch.warnings(),
            [
                "2 texts have the field `target`, which nothing reads: why",
                "one text has the field `contrast_source`, which nothing reads: why"
            ]
        );
        let common = Input { chat_template: Some("rag".to_owned()), ..Input::default() };
        let mut lines = lines_of(b"{\"source\": \"a\"}", &[], common);
        let watch = lines.watch.clone();
        lines.by_ref().for_each(drop);
        assert_eq!(watch.warnings(), ["--chat-template: no text has `messages`, so there is no chat to write"]);
    }
}
