//! The request message: first what the body holds, then the path, then the query.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, request::Parts};

use super::{
    Inner,
    binding::{Binding, Body},
    body::{self, Unread},
    dispatch::{self, Turn},
    draft::Draft,
    error::Failure,
    fieldmask,
    form::{self, Values},
    json::Json,
    param::Parsed,
    path, query,
    stream::Format,
};

impl Inner {
    /// The encoded request messages: one, unless the RPC takes a stream of them. The body
    /// is read to its end even where it is ignored, so that the connection can go on.
    pub(super) async fn messages<B>(
        &self,
        turn: Turn,
        format: Format,
        head: &Parts,
        mut body: Unread<B>,
    ) -> Result<Vec<Vec<u8>>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Turn { binding, texts, form } = turn;
        let text = match binding.body {
            Body::Ignored => Bytes::new(),
            Body::Message | Body::Messages | Body::Field(_) => body.read(&head.headers).await?,
        };
        let fields = match form {
            _ if !binding.binds_query => Fields::None,
            Some(values) => Fields::Read(values),
            None => {
                let query = head.uri.query().unwrap_or_default().to_owned();
                let form =
                    if dispatch::has_form(head) { body.read(&head.headers).await? } else { Bytes::new() };
                Fields::Unread { form, query }
            }
        };
        body.discard(&head.headers).await?;
        let last_event = (format == Format::Events).then(|| last_event(&head.headers)).flatten();
        let material = Material {
            last_event: self.id_field(self.json.schema().message(binding.input)).zip(last_event),
            json: Arc::clone(&self.json),
            max: self.options.max_body,
            explain: self.options.explain_bad_text,
            binding,
            texts,
            text,
            fields,
        };
        self.apart.requests.work(material.size(), move || material.messages()).await
    }
}

/// A browser that connects again says where it was.
fn last_event(headers: &HeaderMap) -> Option<Vec<u8>> {
    let id = headers.get("last-event-id")?.as_bytes();
    (!id.is_empty() && std::str::from_utf8(id).is_ok()).then(|| id.to_vec())
}

/// What a request message is made of.
struct Material {
    json: Arc<Json>,
    binding: Arc<Binding>,
    /// For the path fields, in their order.
    texts: Vec<Vec<u8>>,
    /// The body, unless it is ignored or a form.
    text: Bytes,
    fields: Fields,
    /// The place of the field that takes up where an event stream was, and where that is.
    last_event: Option<(usize, Vec<u8>)>,
    /// The most bytes of the message.
    max: usize,
    explain: bool,
}

/// What a form and the query say.
enum Fields {
    /// Nothing that matters.
    None,
    Read(Values),
    Unread {
        form: Bytes,
        query: String,
    },
}

impl Material {
    fn size(&self) -> usize {
        match &self.fields {
            Fields::Unread { form, .. } => self.text.len() + form.len(),
            Fields::None | Fields::Read(_) => self.text.len(),
        }
    }

    fn messages(self) -> Result<Vec<Vec<u8>>, Failure> {
        let (json, input) = (&self.json, self.binding.input);
        let encoded = match self.binding.body {
            Body::Ignored => Vec::new(),
            Body::Message => json.read(input, &self.text)?,
            Body::Messages => return Ok(json.read_all(input, &self.text)?),
            Body::Field(place) => json.read_field(input, place, &self.text)?,
        };
        let mut draft = Draft::new(json, input, encoded);
        if let Some((place, paths)) = self.mask()? {
            fieldmask::fill(&mut draft, place, &paths);
        }
        for (field, text) in self.binding.path_fields.iter().zip(&self.texts) {
            path::bind(&mut draft, field, text)?;
        }
        match &self.fields {
            Fields::None => {}
            Fields::Read(values) => query::bind(&mut draft, values, &self.binding.taken)?,
            Fields::Unread { form, query } => {
                let values = form::with_query(form, query)?;
                query::bind(&mut draft, &values, &self.binding.taken)?;
            }
        }
        // The browser repeats the first URL's query, so its header has precedence.
        if let Some((place, id)) = self.last_event {
            draft.set(Draft::ROOT, place, Parsed::Bytes(id));
        }
        let message = draft.finish(self.explain)?;
        if message.len() > self.max {
            return Err(body::too_large(self.max));
        }
        Ok(vec![message])
    }

    /// The place of a PATCH's mask field, and what the body names for it.
    fn mask(&self) -> Result<Option<(usize, Vec<String>)>, Failure> {
        let (Some(at), Body::Field(place)) = (self.binding.mask_field, self.binding.body) else {
            return Ok(None);
        };
        let schema = self.json.schema();
        let Some(message) = schema.message(self.binding.input).fields[place].submessage() else {
            return Ok(None);
        };
        Ok(Some((at, fieldmask::mask_of_body(&self.json, message, &self.text, self.max)?)))
    }
}
