//! Whether certificates are valid now: one that is not is served all the same, and no CDN that looks at it connects.

use crate::source::{Mistake, Place};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Warns of every certificate of a file that has expired or is not valid yet.
pub(crate) fn doubt(certificates: &[CertificateDer<'_>], path: &Path, place: &Place) -> Vec<Mistake> {
    let now = ASN1Time::now();
    // What cannot be read here is refused where it is put to use.
    let parsed = certificates.iter().filter_map(|certificate| X509Certificate::from_der(certificate).ok());
    parsed
        .filter_map(|(_, certificate)| {
            let validity = certificate.validity();
            let (what, date) = if validity.not_after < now {
                ("expired on", validity.not_after)
            } else if validity.not_before > now {
                ("is not valid before", validity.not_before)
            } else {
                return None;
            };
            let (path, subject, day) = (path.display(), certificate.subject(), date.to_datetime().date());
            let whose = if subject.as_raw().len() > 2 { format!(" for {subject}") } else { String::new() };
            Some(Mistake::warning(
                place,
                format!("a certificate in {path}{whose} {what} {day}"),
                "renew it, and look at this machine's clock if the day is a surprise",
            ))
        })
        .collect()
}
