//! Any CDN that tells what its edge served.

use crate::akamai::Akamai;
use crate::bunny::Bunny;
use crate::cloudflare::Cloudflare;
use crate::cloudfront::CloudFront;
use crate::edge::{Bucket, Pace, Window};
use crate::fastly::Fastly;
use crate::google::Google;
use crate::{Client, VendorError};

/// A vendor's API, with what it is asked about.
#[derive(Debug)]
pub enum Edge {
    /// Fastly's historical stats.
    Fastly(Fastly),
    /// Cloudflare's GraphQL analytics.
    Cloudflare(Cloudflare),
    /// Bunny's statistics.
    Bunny(Bunny),
    /// CloudFront's metrics in CloudWatch.
    CloudFront(CloudFront),
    /// Akamai's Reporting API v2.
    Akamai(Akamai),
    /// Cloud CDN's metrics in Google's Cloud Monitoring.
    Google(Google),
}

impl Edge {
    /// All that the vendor tells of the window, each bucket once and checked.
    ///
    /// # Errors
    /// Anything but a whole and believable answer. Then there is no figure at all.
    pub async fn buckets(&self, client: &Client, window: Window) -> Result<Vec<Bucket>, VendorError> {
        match self {
            Self::Fastly(vendor) => vendor.buckets(client, window).await,
            Self::Cloudflare(vendor) => vendor.buckets(client, window).await,
            Self::Bunny(vendor) => vendor.buckets(client, window).await,
            Self::CloudFront(vendor) => vendor.buckets(client, window).await,
            Self::Akamai(vendor) => vendor.buckets(client, window).await,
            Self::Google(vendor) => vendor.buckets(client, window).await,
        }
    }

    /// How its figures come.
    pub fn pace(&self) -> Pace {
        match self {
            Self::Fastly(vendor) => vendor.pace(),
            Self::Cloudflare(vendor) => vendor.pace(),
            Self::Bunny(vendor) => vendor.pace(),
            Self::CloudFront(vendor) => vendor.pace(),
            Self::Akamai(vendor) => vendor.pace(),
            Self::Google(vendor) => vendor.pace(),
        }
    }

    /// Whether a bucket that the vendor does not mention had no request. Fastly's stats and Cloudflare's groups have no row
    /// where nothing happened; of the others it is not known.
    pub fn omits_quiet_buckets(&self) -> bool {
        match self {
            Self::Fastly(_) | Self::Cloudflare(_) => true,
            Self::Bunny(_) | Self::CloudFront(_) | Self::Akamai(_) | Self::Google(_) => false,
        }
    }
}
