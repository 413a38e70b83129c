//! All that is kept, by name. The names are a closed set; they stand in the store, in the API and on the dashboard.

/// How minutes become an hour, and hours a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Roll {
    /// Counts add up.
    Sum,
    /// States are averaged.
    Mean,
    /// Distributions are merged.
    Sketch,
}

/// One thing that is kept.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Figure {
    /// As the store and the API have it.
    pub name: &'static str,
    /// How it is rolled up.
    pub roll: Roll,
    /// What a series' label says, beside the provider; empty where there is none.
    pub label: &'static str,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $roll:ident, $label:literal;)*) => {
        $($(#[$doc])* pub const $constant: &Figure = &Figure { name: $name, roll: Roll::$roll, label: $label };)*
        /// Every figure.
        pub const ALL: &[&Figure] = &[$($constant),*];
    };
}

figures! {
    /// Users' requests that a CDN's edge answered.
    EDGE_REQUESTS = "edge_requests", Sum, "property";
    /// Those that its caches answered.
    EDGE_HITS = "edge_hits", Sum, "property";
    /// Those that its caches did not have.
    EDGE_MISSES = "edge_misses", Sum, "property";
    /// Bytes to users.
    EDGE_BYTES = "edge_bytes", Sum, "property";
    /// Users' requests by class of status.
    EDGE_1XX = "edge_1xx", Sum, "property";
    /// Users' requests by class of status.
    EDGE_2XX = "edge_2xx", Sum, "property";
    /// Users' requests by class of status.
    EDGE_3XX = "edge_3xx", Sum, "property";
    /// Users' requests by class of status.
    EDGE_4XX = "edge_4xx", Sum, "property";
    /// Users' requests by class of status.
    EDGE_5XX = "edge_5xx", Sum, "property";
    /// Requests to the origin as the vendor counts them.
    EDGE_ORIGIN_REQUESTS = "edge_origin_requests", Sum, "property";
    /// Bytes from the origin as the vendor counts them.
    EDGE_ORIGIN_BYTES = "edge_origin_bytes", Sum, "property";
    /// Of how many requests the vendor looked at one.
    EDGE_SAMPLING = "edge_sampling", Mean, "property";
    /// Pulls that reached us.
    PULLS = "pulls", Sum, "";
    /// Bytes of bodies that we sent.
    PULL_BYTES = "pull_bytes", Sum, "";
    /// Pulls by class of status.
    PULLS_1XX = "pulls_1xx", Sum, "";
    /// Pulls by class of status.
    PULLS_2XX = "pulls_2xx", Sum, "";
    /// Pulls by class of status.
    PULLS_3XX = "pulls_3xx", Sum, "";
    /// Pulls by class of status.
    PULLS_4XX = "pulls_4xx", Sum, "";
    /// Pulls by class of status.
    PULLS_5XX = "pulls_5xx", Sum, "";
    /// Pulls by rule and class of status, as `RULE/CODE`; from access logs.
    RULE_PULLS = "rule_pulls", Sum, "rule_code";
    /// Bytes of bodies by rule; from access logs.
    RULE_BYTES = "rule_bytes", Sum, "rule";
    /// Error pages by reason.
    WHOOPSIES = "whoopsies", Sum, "reason";
    /// Failure beacons by source.
    BEACONS = "beacons", Sum, "source";
    /// Failure beacons by country.
    BEACON_COUNTRIES = "beacon_countries", Sum, "country";
    /// Seconds from a pull's first byte to its answer's last.
    PULL_SECONDS = "pull_seconds", Sketch, "";
    /// Seconds to the origin's first byte.
    ORIGIN_SECONDS = "origin_seconds", Sketch, "";
    /// Seconds that the pulls of a proxy are known for.
    PULLS_WATCHED = "pulls_watched", Sum, "proxy";
    /// Of these the seconds of a gap, whose pulls are known in sum and spread evenly.
    PULLS_SPREAD = "pulls_spread", Sum, "proxy";
    /// Pages that users loaded, by their browsers' telling.
    USER_PAGES = "user_pages", Sum, "";
    /// Failures that browsers told of.
    USER_ERRORS = "user_errors", Sum, "";
    /// What browsers sent and was not counted.
    USER_REFUSED = "user_refused", Sum, "reason";
    /// Seconds to a page's first byte.
    USER_TTFB = "user_ttfb", Sketch, "";
    /// Seconds to the first thing painted.
    USER_FCP = "user_fcp", Sketch, "";
    /// Seconds to the largest thing painted.
    USER_LCP = "user_lcp", Sketch, "";
    /// Seconds from what users do to what they see of it.
    USER_INP = "user_inp", Sketch, "";
    /// Seconds to the end of a page's load.
    USER_LOAD = "user_load", Sketch, "";
    /// How much pages jump about: a score.
    USER_CLS = "user_cls", Sketch, "";
    /// As `user_pages`, by hours.
    USER_COUNTRY_PAGES = "user_country_pages", Sum, "country";
    /// As `user_ttfb`, by hours.
    USER_COUNTRY_TTFB = "user_country_ttfb", Sketch, "country";
    /// As `user_fcp`, by hours.
    USER_COUNTRY_FCP = "user_country_fcp", Sketch, "country";
    /// As `user_lcp`, by hours.
    USER_COUNTRY_LCP = "user_country_lcp", Sketch, "country";
    /// As `user_inp`, by hours.
    USER_COUNTRY_INP = "user_country_inp", Sketch, "country";
    /// As `user_load`, by hours.
    USER_COUNTRY_LOAD = "user_country_load", Sketch, "country";
    /// As `user_cls`, by hours.
    USER_COUNTRY_CLS = "user_country_cls", Sketch, "country";
}

/// The figure of that name.
pub fn named(name: &str) -> Option<&'static Figure> {
    ALL.iter().copied().find(|figure| figure.name == name)
}

/// Of a failure beacon's source in the form of Headwater's own pages, `fastly_503`: whose users see which error.
pub fn users_of(source: &str) -> Option<&str> {
    let (cdn, status) = source.rsplit_once('_')?;
    (status.len() == 3 && status.starts_with('5') && status.bytes().all(|b| b.is_ascii_digit())).then_some(cdn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        assert!(ALL.iter().all(|figure| named(figure.name) == Some(figure)));
    }

    #[test]
    fn a_beacon_says_whose_users_see_the_page() {
        assert_eq!(users_of("fastly_503"), Some("fastly"));
        assert_eq!(users_of("my_cdn_502"), Some("my_cdn"));
        for other in ["checkout", "fastly_404", "fastly_5xx", "fastly_5033", ""] {
            assert_eq!(users_of(other), None, "{other}");
        }
    }
}
