//! More than one plain Redis: encrypted, watched over by Sentinels, spread over a cluster. Each with real servers.

mod cluster;
mod nodes;
mod scan;
mod sentinel;
mod tls;
