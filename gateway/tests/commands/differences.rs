//! Where the table differs from the server's documentation on purpose: a list for each kind of difference, a reason for each
//! entry. The tests fail for an entry that is no longer needed.

/// A command of a covered group that is no operation.
pub static ABSENT: &[(&str, &str)] = &[];

/// An argument whose name is not the one that the rules make of the server's.
#[derive(Debug)]
#[expect(dead_code, reason = "the reason is for people")]
pub struct Rename {
    pub operation: &'static str,
    pub derived: &'static str,
    pub ours: &'static str,
    pub reason: &'static str,
}

pub static RENAMES: &[Rename] = &[
    Rename { operation: "mset", derived: "key_values", ours: "values", reason: "The pairs go by what is stored" },
    Rename { operation: "msetnx", derived: "key_values", ours: "values", reason: "As in mset" },
];

/// Arguments that are arranged in another way.
#[derive(Debug)]
#[expect(dead_code, reason = "the reason is for people")]
pub struct Structure {
    pub operation: &'static str,
    pub theirs: &'static str,
    pub ours: &'static str,
    pub reason: &'static str,
}

pub static STRUCTURES: &[Structure] = &[
    Structure {
        operation: "lcs",
        theirs: "key1:key key2:key len=LEN:flag? idx=IDX:flag? minmatchlen=MINMATCHLEN:integer? withmatchlen=WITHMATCHLEN:flag?",
        ours: "key1:key key2:key (len=LEN:flag | idx=IDX:flag)? minmatchlen=MINMATCHLEN:integer? withmatchlen=WITHMATCHLEN:flag?",
        reason: "The server refuses LEN beside IDX",
    },
    Structure {
        operation: "migrate",
        theirs: "host:bytes port:integer (key:key | =:flag) destination_db:integer timeout:integer copy=COPY:flag? replace=REPLACE:flag? \
                 (auth=AUTH:bytes? | auth2=AUTH2:{username:bytes password:bytes}?)? keys=KEYS:[key]?",
        ours: "host:bytes port:integer destination_db:integer timeout:integer copy=COPY:flag? replace=REPLACE:flag? \
               (auth=AUTH:bytes | auth2=AUTH2:{username:bytes password:bytes})? keys=KEYS:[key]",
        reason: "One key or many, they are always in `keys`; the server marks the choices of a choice as optional",
    },
    Structure {
        operation: "restore",
        theirs: "key:key ttl:integer serialized_value:bytes replace=REPLACE:flag? absttl=ABSTTL:flag? idletime=IDLETIME:integer? freq=FREQ:integer?",
        ours: "key:key ttl:integer serialized_value:bytes replace=REPLACE:flag? absttl=ABSTTL:flag? (idletime=IDLETIME:integer | freq=FREQ:integer)?",
        reason: "The server refuses IDLETIME beside FREQ",
    },
];

/// Arguments that the server requires and that need not be given.
pub static DEFAULTS: &[(&str, &str, &str)] = &[("scan", "cursor", "The first page begins at 0")];

/// Dangerous to the server, and yet no matter of administration: they work on keys that a grant can name.
pub static CLASSES: &[(&str, &str)] =
    &[("restore", "It writes one key"), ("sort", "It reads one key, and its patterns are checked on their own"), ("sort_ro", "As sort")];

/// Operations that are split in another way than the server advises.
pub static SPLITS: &[(&str, &str)] =
    &[("msetnx", "It is all or nothing, which its parts would not be"), ("wait", "It is about one connection, not about nodes")];
