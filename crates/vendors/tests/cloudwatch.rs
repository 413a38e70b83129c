//! CloudFront's figures from a CloudWatch that checks signatures: moto, which Amazon's own client fills.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use headwater_vendors::cloudfront::CloudFront;
use headwater_vendors::edge::{Bucket, Window};
use headwater_vendors::{Client, VendorError};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct CloudWatch {
    child: Child,
    url: String,
    key: String,
    secret: String,
    start: i64,
}

impl CloudWatch {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../../target/test-tools/venv/bin/python");
        assert!(python.exists(), "there is no {}: run `make test-tools`", python.display());
        let mut child = Command::new(python)
            .arg(root.join("tests/cloudwatch.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(told) = serde_json::from_str::<serde_json::Value>(&line) else {
            let said = child.wait_with_output().unwrap().stderr;
            panic!("moto did not start, run `make test-tools`: {}", String::from_utf8_lossy(&said));
        };
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        let url = format!("http://127.0.0.1:{}", told["port"]);
        // It writes a line for every question.
        let mut said = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, url, key: text("id"), secret: text("secret"), start: told["start"].as_i64().unwrap() }
    }

    fn asking(&self, secret: &str) -> Result<Vec<Bucket>, VendorError> {
        let distributions = vec!["EDFDVBD6EXAMPLE".into(), "E0UNKNOWN".into()];
        let cloudfront = CloudFront::new(&self.url, &self.key, secret, None, distributions);
        let window = Window { from: self.start - 300, until: self.start + 900 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(cloudfront.buckets(&Client::new().unwrap(), window))
    }
}

impl Drop for CloudWatch {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn cloudwatch_takes_the_signature_and_gives_exact_totals() {
    let cloudwatch = CloudWatch::start();
    let buckets = cloudwatch.asking(&cloudwatch.secret).unwrap();
    let expected = (0..10).map(|minute| Bucket {
        property: "EDFDVBD6EXAMPLE".into(),
        start: cloudwatch.start + minute * 60,
        requests: 1000 + minute as u64,
        bytes: Some(1_000_000 + minute as u64),
        classes: [None, None, None, Some(20), Some(5)],
        ..Bucket::default()
    });
    assert_eq!(buckets, expected.collect::<Vec<_>>());

    let error = cloudwatch.asking("not the secret").unwrap_err();
    assert!(matches!(error, VendorError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    assert!(!error.to_string().contains("not the secret"), "{error}");
}
