//! From a request's method and path to the binding that answers it, by gRPC-gateway's
//! order: another method in place of POST, bindings of the method, bindings of other
//! methods, nothing.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, header::CONTENT_TYPE, request::Parts};
use tonic::Code;

use super::{
    Inner,
    binding::Binding,
    body::Unread,
    error::Failure,
    form::{self, Values},
    route::Match,
};

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// What a request is for.
pub(super) enum Target {
    Rpc(Turn),
    /// The health of a service.
    Health,
}

/// A request's binding, and what finding it has brought.
pub(super) struct Turn {
    pub binding: Arc<Binding>,
    /// The texts for the binding's path fields, in their order.
    pub texts: Vec<Vec<u8>>,
    /// The fields of the form, and the query's after them, where the body had to be read
    /// as a form to find the binding.
    pub form: Option<Values>,
}

impl Inner {
    /// Finds what `path`, decoded, is for. Another method that a form asks for stands in
    /// `head` afterwards.
    pub(super) async fn dispatch<B>(
        &self,
        path: &[u8],
        head: &mut Parts,
        body: &mut Unread<B>,
    ) -> Result<Target, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if !path.starts_with(b"/") {
            return Err(Failure::invalid("Bad Request"));
        }
        let is_form = head.method == Method::POST && content_type(&head.headers) == Some(FORM);
        let mut form = None;
        let mut method = head.method.clone();
        if let Some(other) = self.overriding(head).filter(|_| is_form) {
            form = Some(self.form(head, body).await?);
            method = other;
            head.method = method.clone();
        }
        let inner = path.strip_prefix(self.options.prefix.as_bytes()).filter(|path| path.starts_with(b"/"));
        let found = inner.map_or(Match::Nothing, |path| self.table.find(&method, path));
        let code = match found {
            Match::Found(binding, texts) => {
                return Ok(Target::Rpc(Turn { binding: Arc::clone(binding), texts, form }));
            }
            Match::OtherMethod(Some((binding, texts)))
                if is_form && method == Method::POST && self.options.form_fallback =>
            {
                if form.is_none() {
                    form = Some(self.form(head, body).await?);
                }
                return Ok(Target::Rpc(Turn { binding: Arc::clone(binding), texts, form }));
            }
            Match::OtherMethod(_) => Code::Unimplemented,
            Match::Nothing if self.is_health(path) && method == Method::GET => return Ok(Target::Health),
            Match::Nothing if self.is_health(path) => Code::Unimplemented,
            Match::Nothing => Code::NotFound,
        };
        let message = if code == Code::NotFound { "Not Found" } else { "Method Not Allowed" };
        let shown = String::from_utf8_lossy(inner.unwrap_or(path));
        Err(match (self.options.hint)(&method, &shown) {
            Some(hint) => Failure::new(code, format!("{message}: {hint}")),
            None => Failure::new(code, message),
        })
    }

    /// The values of a form, those of the query after them.
    async fn form<B>(&self, head: &Parts, body: &mut Unread<B>) -> Result<Values, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let form = body.read(&head.headers).await?;
        let query = head.uri.query().unwrap_or_default().to_owned();
        self.apart.requests.work(form.len(), move || form::with_query(&form, &query)).await
    }

    fn overriding(&self, head: &Parts) -> Option<Method> {
        let value = head.headers.get("x-http-method-override").filter(|_| self.options.method_override)?;
        let upper = value.as_bytes().to_ascii_uppercase();
        Method::from_bytes(&upper).ok()
    }

    fn is_health(&self, path: &[u8]) -> bool {
        self.options.healthz.as_ref().is_some_and(|healthz| healthz.as_bytes() == path)
    }
}

/// Whether a request's body is a form that counts as parameters.
pub(super) fn has_form(head: &Parts) -> bool {
    matches!(head.method, Method::POST | Method::PUT | Method::PATCH) && is_form(&head.headers)
}

/// Whether a body is a form; parameters of the content type do not matter here.
fn is_form(headers: &HeaderMap) -> bool {
    let media = content_type(headers).and_then(|value| value.split(|byte| *byte == b';').next());
    media.is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case(FORM))
}

fn content_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes)
}
