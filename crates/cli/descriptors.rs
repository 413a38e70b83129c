//! How many descriptors the process may open: each connection takes one, and the default of most systems is 1,024.

use headwater_config::Policy;

/// What the process needs beside connections: listeners, logs, runtimes.
const BESIDE: usize = 128;

/// Raises the limit as far as the system lets us, and says where that is too little for the config.
pub fn raise_limit(policy: &Policy) {
    let wanted = (policy.limits.max_connections + policy.origin.max_connections + BESIDE) as u64;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(most) if most < wanted => tracing::warn!(
            most,
            wanted,
            "the system lets this process open fewer descriptors than limits.max_connections and origin.max_connections \
             need: raise LimitNOFILE (systemd) or `ulimit -Hn`, or lower them"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open descriptors"),
    }
}
