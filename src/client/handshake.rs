//! What a failed TLS handshake means to the person, and what to do.

use std::{error::Error, io};

use h2::Reason;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// What a server may say of our certificate.
const ALERTS: [AlertDescription; 9] = [
    AlertDescription::CertificateRequired,
    AlertDescription::HandshakeFailure,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::DecryptError,
];

/// Why the server and we could not agree on TLS, if that is what `error` is about.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>()
            && h2.reason() == Some(Reason::INADEQUATE_SECURITY)
        {
            return Some("it speaks TLS; write https:// before its address".to_owned());
        }
        // What an I/O error wraps is not among its sources.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| wrapped.and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>()));
        if let Some(tls) = tls {
            return Some(meaning(tls));
        }
        // HTTP/2 keeps no more of it than the text.
        let text = error.to_string();
        if let Some(alert) =
            ALERTS.iter().find(|alert| text == rustls::Error::AlertReceived(**alert).to_string())
        {
            return Some(alerted(*alert));
        }
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn meaning(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate) => untrusted(certificate),
        rustls::Error::AlertReceived(alert) => alerted(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS; write http:// before its address".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

fn untrusted(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate is of an authority that is not trusted here; name the authority's certificate with \
             --ca FILE or LEASEHOLD_CA"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; it needs a new one (or this machine's clock is wrong)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is this machine's clock right?".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is not for {}, but for {}; use a name that it is for with --server",
            expected.to_str(),
            if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
        ),
        CertificateError::NotValidForName => {
            "its certificate is for another name; use one that it is for with --server".to_owned()
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a client certificate; name one with --cert FILE and --key FILE (LEASEHOLD_CERT, \
             LEASEHOLD_KEY)"
                .to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError => {
            format!("it does not accept the certificate of --cert ({alert:?})")
        }
        other => format!("it ended the TLS handshake ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_named_however_deep_the_cause_is() {
        #[track_caller]
        fn check(error: rustls::Error, expect: &str) {
            let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
            let deeper = io::Error::other(wrapped);
            let text = explain(&deeper).expect("it is about TLS");
            assert!(text.contains(expect), "{text}");
        }
        check(CertificateError::UnknownIssuer.into(), "--ca");
        check(CertificateError::Expired.into(), "expired");
        check(CertificateError::NotValidForName.into(), "another name");
        check(rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "--cert");
        check(rustls::Error::AlertReceived(AlertDescription::UnknownCA), "does not accept");
        check(InvalidMessage::InvalidContentType.into(), "http://");
        let told = io::Error::other("received fatal alert: CertificateRequired");
        assert!(explain(&io::Error::other(told)).is_some_and(|text| text.contains("--cert")));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(explain(&refused), None);
        let h2: h2::Error = Reason::INADEQUATE_SECURITY.into();
        assert!(explain(&io::Error::other(h2)).is_some_and(|text| text.contains("https://")));
    }
}
