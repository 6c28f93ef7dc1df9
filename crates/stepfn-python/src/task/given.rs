//! Texts as Python gives them.

use pyo3::prelude::*;
use stepfn::{Alignment, Error, ErrorKind, Input, Positions, RecordFields, RecordText, Value};

use crate::convert::from_json;

/// Pairs of an alignment, or the word for finding them.
#[derive(FromPyObject, Clone)]
pub(crate) enum Align {
    Pairs(Vec<(usize, usize)>),
    Named(String),
}

impl Align {
    fn alignment(self) -> stepfn::Result<Alignment> {
        match self {
            Self::Pairs(pairs) => Ok(Alignment::Pairs(pairs)),
            Self::Named(name) if name == "auto" => Ok(Alignment::Auto),
            Self::Named(name) => {
                Err(Error::new(ErrorKind::Option, format!("there is no alignment `{name}`"), "give pairs, or `auto`"))
            }
        }
    }
}

/// A text as Python gives it: alone, or as the JSON of a record.
#[pyclass(frozen, from_py_object, module = "stepfn._stepfn")]
#[derive(Clone)]
pub(crate) struct Given {
    text: Option<String>,
    record: Option<String>,
    from: Option<usize>,
    to: Option<usize>,
    align: Option<Align>,
    chat_template: Option<String>,
    /// Variables of the chat template, as JSON.
    chat_variables: Option<String>,
    keep: Vec<String>,
    /// Why it can't be read, and what to do.
    wrong: Option<(String, String)>,
    /// Of texts that are compared, the fields that they are in, without any those of known data.
    columns: Option<Vec<String>>,
}

#[pymethods]
impl Given {
    #[new]
    #[pyo3(signature = (text, record, from_, to, align, chat_template, chat_variables, keep, wrong=None, columns=None))]
    #[expect(clippy::too_many_arguments, reason = "they come from Python")]
    fn new(
        text: Option<String>,
        record: Option<String>,
        from_: Option<usize>,
        to: Option<usize>,
        align: Option<Align>,
        chat_template: Option<String>,
        chat_variables: Option<String>,
        keep: Vec<String>,
        wrong: Option<(String, String)>,
        columns: Option<Vec<String>>,
    ) -> Self {
        Self { text, record, from: from_, to, align, chat_template, chat_variables, keep, wrong, columns }
    }
}

/// An input, with what its user calls it.
pub(crate) struct Named {
    id: Value,
    input: stepfn::Result<Input>,
}

impl stepfn::IntoInput for Named {
    fn into_input(self) -> stepfn::Result<Input> {
        self.input
    }

    fn id(&self) -> Value {
        self.id.clone()
    }
}

impl Given {
    pub(crate) fn named(self) -> PyResult<Named> {
        let Self { text, record, from, to, align, chat_template, chat_variables, keep, wrong, columns } = self;
        let (id, input) = match (&text, &record) {
            (_, Some(record)) if columns.is_some() => {
                stepfn::comparison(record.as_bytes(), &columns.unwrap_or_default(), &keep)
            }
            (_, Some(record)) => {
                let fields = RecordFields { keep, positions: Positions::Characters, ..RecordFields::default() };
                let RecordText { id, input, .. } = fields.line(record.as_bytes());
                (id, input)
            }
            (text, None) => (Value::Null, Ok(Input::text(text.clone().unwrap_or_default()))),
        };
        let input = match wrong {
            Some((what, hint)) => Err(Error::new(ErrorKind::Text, what, hint)),
            None => input,
        };
        let variables = chat_variables.as_deref().map_or_else(|| Ok(Default::default()), from_json)?;
        let alignment = align.map_or(Ok(Alignment::OneToOne), Align::alignment);
        let input = input.and_then(|input| {
            let alignment = alignment?;
            Ok(Input { from, to, alignment, chat_template, chat_variables: variables, ..input })
        });
        Ok(Named { id, input })
    }
}
