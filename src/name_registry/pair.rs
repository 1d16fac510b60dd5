//! How a pair of any two texts is kept as a service and a url, and how it is read back.
//!
//! A pair that is a service's name and a url already is kept as it is: it is the very instance that
//! any other door would register. Every other one keeps what it lost in its url's fragment, which
//! nobody sends to a server: `http://10.0.0.7:80#name-registry?service=Billing%20API&address=10.0.0.7:80`.
//! Two pairs never meet in one place, and a place alone says which pair it is of.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::types::{Digest, ServiceName, ServiceUrl};

/// A service and an address, as a client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) service: Cow<'a, str>,
    pub(super) address: Cow<'a, str>,
}

/// Where the registry keeps a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) service: ServiceName,
    pub(super) url: String,
}

/// A pair's place would have so many bytes of url, which are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service and address are too long: they are kept in a url of {0} bytes; at most {max} are taken", max = ServiceUrl::MAX)]
pub(super) struct TooLong(usize);

/// What a url's fragment begins with where it says what its pair was.
const MARKER: &str = "name-registry?";
const SERVICE: &str = "service=";
const ADDRESS: &str = "address=";

/// Where nothing can be made of an address.
const NOWHERE: &str = "raw://address";

/// What a fragment (RFC 3986, section 3.5) takes as it is, and we need not take apart.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');

/// The service that a client's name is kept under: its folded form, or a number where that is none.
pub(super) fn service_of(name: &str) -> Option<ServiceName> {
    ServiceName::fold(name)
        .or_else(|_| {
            let mut digest = Digest::default();
            digest.text(name);
            ServiceName::fold(&format!("unnamed-{:016x}", digest.value()))
        })
        .ok()
}

impl<'a> Pair<'a> {
    pub(super) fn new(service: &'a str, address: &'a str) -> Self {
        Self { service: Cow::Borrowed(service), address: Cow::Borrowed(address) }
    }

    /// The pair that is kept in a place.
    pub(super) fn at(service: &'a ServiceName, url: &'a str) -> Self {
        Self::marked_at(service.as_str(), url).unwrap_or_else(|| Self::new(service.as_str(), url))
    }

    /// Where the registry keeps it.
    pub(super) fn place(&self) -> Result<Place, TooLong> {
        let (name, address) = (&*self.service, &*self.address);
        let Some(service) = service_of(name) else { return Err(TooLong(name.len())) };
        let is_named = service.as_str() == name;
        if is_named && ServiceUrl::check(address).is_ok() && Pair::marked_at(name, address).is_none() {
            return Ok(Place { service, url: address.to_owned() });
        }
        let mut url = base(address);
        let kept_address = url == address;
        let mut separator = "#name-registry?";
        for (key, value, is_kept) in [(SERVICE, name, is_named), (ADDRESS, address, kept_address)] {
            if !is_kept {
                url.extend([separator, key]);
                url.extend(utf8_percent_encode(value, PLAIN));
                separator = "&";
            }
        }
        if url.len() > ServiceUrl::MAX {
            return Err(TooLong(url.len()));
        }
        Ok(Place { service, url })
    }

    /// The pair that a url's fragment tells of, if it has one just as [`Pair::place`] writes it.
    /// What only looks like one is part of somebody's address.
    fn marked_at(service: &'a str, url: &'a str) -> Option<Self> {
        let (base, fragment) = url.split_once('#')?;
        let mut pair = Self::new(service, base);
        let mut fields = fragment.strip_prefix(MARKER)?;
        if let Some(text) = fields.strip_prefix(SERVICE) {
            let (name, rest) = text.split_once('&').unwrap_or((text, ""));
            pair.service = percent_decode_str(name).decode_utf8().ok()?;
            fields = rest;
        }
        if let Some(text) = fields.strip_prefix(ADDRESS) {
            pair.address = percent_decode_str(text).decode_utf8().ok()?;
        }
        // An address in it is shorter than the url, so this ends.
        let place = pair.place().ok()?;
        (place.service.as_str() == service && place.url == url).then_some(pair)
    }
}

/// An address that can be connected to, made of what was sent, as far as that goes.
fn base(address: &str) -> String {
    let (reached, _) = address.split_once('#').unwrap_or((address, ""));
    let completed = || format!("http://{reached}");
    if ServiceUrl::check(reached).is_ok() {
        return reached.to_owned();
    }
    Some(completed()).filter(|url| ServiceUrl::check(url).is_ok()).unwrap_or_else(|| NOWHERE.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_pairs_are_kept() {
        let check = |service: &str, address: &str, kept: &str, url: &str| {
            let place = Pair::new(service, address).place().unwrap();
            assert_eq!((place.service.as_str(), &*place.url), (kept, url), "{service:?} {address:?}");
        };
        check("billing", "http://a:80", "billing", "http://a:80");
        check("billing", "http://a:80/x#y", "billing", "http://a:80/x#y");
        check("Billing API", "http://a:80", "billing-api", "http://a:80#name-registry?service=Billing%20API");
        check("billing", "a:80", "billing", "http://a:80#name-registry?address=a:80");
        check("B", "a:80", "b", "http://a:80#name-registry?service=B&address=a:80");
        check("B", "http://a#y", "b", "http://a#name-registry?service=B&address=http://a%23y");
        check("b", "", "b", "raw://address#name-registry?address=");
        check("b", "not an address", "b", "raw://address#name-registry?address=not%20an%20address");
        check("b", "http://u:p@a", "b", "raw://address#name-registry?address=http://u:p%40a");
        check("", "http://a", "unnamed-a8c7f832281a39c5", "http://a#name-registry?service=");
        // A name that looks as if it were kept is kept as one that is not.
        let url = "http://a:80#name-registry?service=B";
        check("b", url, "b", "http://a:80#name-registry?address=http://a:80%23name-registry%3Fservice%3DB");
        // What we would not write is an address like any other.
        check("b", "http://a#name-registry?service=b", "b", "http://a#name-registry?service=b");
        check("b", "http://a#name-registry?", "b", "http://a#name-registry?");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = "x".repeat(2100);
        for (service, address) in [(&*long, "http://a"), ("a", &*long), ("a", &format!("http://{long}"))] {
            assert!(Pair::new(service, address).place().is_err());
        }
        let fits = format!("http://a/{}", "x".repeat(2039));
        assert_eq!(Pair::new("a", &fits).place().map(|place| place.url), Ok(fits));
    }

    /// Texts of which many are nearly names, urls, or places of other pairs.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("http://a".to_owned()),
            Just("#name-registry?".to_owned()),
            Just("service=".to_owned()),
            Just("&address=".to_owned()),
            Just("%23".to_owned()),
            "[aA&=#?%:/ -]{0,3}",
            ".{0,3}",
        ];
        prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_place_tells_its_pair_and_no_other(service in text(), address in text(), again in 0..3) {
            let (mut service, mut address) = (service, address);
            for _ in 0..again {
                // What is kept may be sent as if it were an address.
                let place = Pair::new(&service, &address).place().unwrap();
                (service, address) = (place.service.as_str().to_owned(), place.url);
            }
            let pair = Pair::new(&service, &address);
            let place = pair.place().unwrap();
            prop_assert_eq!(Pair::at(&place.service, &place.url), pair);
            prop_assert!(ServiceUrl::check(&place.url).is_ok(), "{}", place.url);
            prop_assert_eq!(service_of(&service), Some(place.service));
        }

        /// What other doors register has a pair, which leads back to it.
        #[test]
        fn every_instance_has_a_pair(service in "[a-z0-9][a-z0-9._]{0,5}", address in text()) {
            let mut url = format!("http://a/{address}");
            url.retain(|c| !c.is_whitespace() && !c.is_control());
            let service = ServiceName::fold(&service).unwrap();
            let place = Pair::at(&service, &url).place().unwrap();
            prop_assert_eq!((place.service, place.url), (service, url));
        }
    }
}
