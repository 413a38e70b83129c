//! Certificates for tests: an authority, and what it issues.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Year, month and day.
type Day = (i32, u8, u8);

/// An authority that nobody trusts but who is told to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, in files.
pub struct Pair {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes its certificate into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(&path, &self.certificate).unwrap();
        path
    }

    /// Issues a certificate for names, and writes it with its key.
    pub fn issue(&self, folder: &Path, file: &str, names: &[&str]) -> Pair {
        self.issue_with(folder, file, names, |_| {})
    }

    /// Issues a certificate that is valid from one day to another, each as year, month and day.
    pub fn issue_between(&self, folder: &Path, file: &str, name: &str, first: Day, last: Day) -> Pair {
        self.issue_with(folder, file, &[name], |params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.not_before = rcgen::date_time_ymd(first.0, first.1, first.2);
            params.not_after = rcgen::date_time_ymd(last.0, last.1, last.2);
        })
    }

    fn issue_with(
        &self,
        folder: &Path,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair { certificate: folder.join(format!("{file}.pem")), key: folder.join(format!("{file}.key")) };
        std::fs::write(&pair.certificate, certificate.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        pair
    }
}
