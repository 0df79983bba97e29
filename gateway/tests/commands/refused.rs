//! What a server that stands alone cannot do, whatever the arguments: an operation, and what it lacks.

pub static REFUSED: &[(&str, &str)] = &[
    ("acl_load", "A file of users"),
    ("acl_save", "A file of users"),
    ("cluster_cancelslotmigrations", "A migration"),
    ("cluster_count_failure_reports", "Another node"),
    ("cluster_failover", "Another node"),
    ("cluster_forget", "Another node"),
    ("cluster_migrateslots", "Another node"),
    ("cluster_replicas", "Another node"),
    ("cluster_replicate", "Another node"),
    ("cluster_slaves", "Another node"),
    ("config_rewrite", "A file of settings"),
    ("failover", "A replica"),
    ("function_kill", "A function that runs"),
    ("latency_graph", "A sample"),
    ("module_load", "A module"),
    ("module_loadex", "A module"),
    ("module_unload", "A module"),
    ("script_kill", "A script that runs"),
];
