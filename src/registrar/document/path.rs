//! Where a directory backend keeps a document: the elements of `prefix_path`, one segment each.

use std::str::FromStr;

use thiserror::Error;

use super::{Container, Document, Rules, port_name, variable};

/// The longest segment in bytes; a longer one is cut.
const MAX_SEGMENT: usize = 255;

/// One element of `prefix_path`; it becomes one segment of the path, or none where what it names is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// `environment:NAME`, a variable of the container, if it is set.
    Environment(String),
    /// `string:TEXT`, the text itself.
    String(String),
    /// `service:PORT`: what `SERVICE_<port>_NAME` says, else the port.
    PortName,
    /// `service:FIELD` and `container:FIELD`, a field of the document.
    Field(Field),
}

/// A field of a document that can be in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Id,
    Host,
    Ipaddress,
    Name,
    Image,
    Hostname,
    Port,
    Proto,
    HostPort,
}

/// Why a text is no element of a path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ElementError {
    /// It is not `kind:value`.
    #[error("is not of the form kind:value")]
    Form,
    /// There is no such kind.
    #[error("is of no kind that there is: environment, string, service, container")]
    Kind,
    /// A document has no such field.
    #[error(
        "names no field that there is: ID, HOST, IPADDRESS, NAME, IMAGE, HOSTNAME, PORT, PROTO, HOST_PORT"
    )]
    Field,
}

impl FromStr for Element {
    type Err = ElementError;

    fn from_str(text: &str) -> Result<Self, ElementError> {
        let (kind, value) = text.trim().split_once(':').ok_or(ElementError::Form)?;
        if value.is_empty() {
            return Err(ElementError::Form);
        }
        match kind {
            "environment" => Ok(Self::Environment(value.to_owned())),
            "string" => Ok(Self::String(value.to_owned())),
            // In lower case it is the bare port.
            "service" if value == "PORT" => Ok(Self::PortName),
            "service" | "container" => field(value).map(Self::Field).ok_or(ElementError::Field),
            _ => Err(ElementError::Kind),
        }
    }
}

fn field(name: &str) -> Option<Field> {
    Some(match name.to_ascii_lowercase().as_str() {
        "id" => Field::Id,
        "host" => Field::Host,
        "ipaddress" => Field::Ipaddress,
        "name" => Field::Name,
        "image" => Field::Image,
        "hostname" => Field::Hostname,
        "port" => Field::Port,
        "proto" => Field::Proto,
        "host_port" => Field::HostPort,
        _ => return None,
    })
}

/// The path of a document that is complete but for it. Where every element is absent, the container's id stands
/// for them: the prefix alone is no place.
pub fn path(document: &Document, container: &Container, rules: &Rules) -> String {
    let texts = rules.prefix_path.iter().filter_map(|element| text(element, document, container));
    let mut segments: Vec<String> = texts.map(segment).collect();
    if segments.is_empty() {
        segments.push(segment(&document.id));
    }
    format!("{}/{}", rules.prefix_services, segments.join("/"))
}

fn text<'a>(element: &'a Element, document: &'a Document, container: &'a Container) -> Option<&'a str> {
    match element {
        Element::Environment(name) => variable(container, name),
        Element::String(text) => Some(text),
        Element::PortName => {
            let port = document.port.as_deref()?;
            let name = port.parse().ok().and_then(|port| port_name(container, port));
            Some(name.unwrap_or(port))
        }
        Element::Field(field) => match field {
            Field::Id => Some(document.id.as_str()),
            Field::Host => Some(document.host.as_str()),
            Field::Ipaddress => Some(document.ipaddress.as_str()),
            Field::Name => Some(document.name.trim_start_matches('/')),
            Field::Image => Some(document.image.as_str()),
            Field::Hostname => Some(document.hostname.as_str()),
            Field::Port => document.port.as_deref(),
            Field::Proto => document.proto.as_deref(),
            Field::HostPort => document.host_port.as_deref(),
        }
        .filter(|text| !text.is_empty()),
    }
}

/// Exactly one segment, whatever the text: a container must not choose its way out of its place.
fn segment(text: &str) -> String {
    let mut segment: String = text
        .chars()
        .map(|c| if c == '/' || c == '\\' || c.is_whitespace() || c.is_control() { '-' } else { c })
        .collect();
    segment.truncate(segment.floor_char_boundary(MAX_SEGMENT));
    if segment.bytes().all(|byte| byte == b'.') {
        segment = segment.replace('.', "-");
    }
    segment
}
