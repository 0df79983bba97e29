//! Where the table differs from the server's documentation on purpose: a list for each kind of difference, a reason for each
//! entry. The tests fail for an entry that is no longer needed.

/// A command of a covered group that is no operation.
pub static ABSENT: &[(&str, &str)] = &[("pfdebug", "It is for those who work on the server itself"), ("pfselftest", "As pfdebug")];

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
    Rename { operation: "hmset", derived: "field_values", ours: "fields", reason: "The pairs go by what they are to the hash" },
    Rename { operation: "hset", derived: "field_values", ours: "fields", reason: "As in hmset" },
    Rename { operation: "geoadd", derived: "longitude_latitude_members", ours: "members", reason: "As in zadd" },
    Rename { operation: "mset", derived: "key_values", ours: "values", reason: "The pairs go by what is stored" },
    Rename { operation: "msetnx", derived: "key_values", ours: "values", reason: "As in mset" },
];

/// Arguments of which a part is arranged in another way, the same in several operations.
#[derive(Debug)]
#[expect(dead_code, reason = "the reason is for people")]
pub struct Part {
    pub operations: &'static [&'static str],
    pub theirs: &'static str,
    pub ours: &'static str,
    pub reason: &'static str,
}

pub static PARTS: &[Part] = &[
    Part {
        operations: &["hrandfield"],
        theirs: "options:{count:integer withvalues=WITHVALUES:flag?}?",
        ours: "count:integer? withvalues=WITHVALUES:flag?",
        reason: "A block without a token is its arguments",
    },
    Part {
        operations: &["zrandmember"],
        theirs: "options:{count:integer withscores=WITHSCORES:flag?}?",
        ours: "count:integer? withscores=WITHSCORES:flag?",
        reason: "As in hrandfield",
    },
    Part {
        operations: &["zcount", "zrangebyscore", "zremrangebyscore"],
        theirs: "min:double max:double",
        ours: "min:bytes max:bytes",
        reason: "A bound may be open, as `(1`",
    },
    Part { operations: &["zrevrangebyscore"], theirs: "max:double min:double", ours: "max:bytes min:bytes", reason: "As in zcount" },
    Part { operations: &["zincrby"], theirs: "increment:integer", ours: "increment:double", reason: "Scores are doubles" },
    Part {
        operations: &["zinter", "zinterstore", "zunion", "zunionstore"],
        theirs: "weights=WEIGHTS:[integer]?",
        ours: "weights=WEIGHTS:[double]?",
        reason: "Scores are doubles",
    },
    Part {
        operations: &["zadd"],
        theirs: "score_members:[double bytes]",
        ours: "members:[{score:double member:bytes}]",
        reason: "A member stands beside its score as in answers",
    },
    Part {
        operations: &["geodist"],
        theirs: "(m=M:flag | km=KM:flag | ft=FT:flag | mi=MI:flag)?",
        ours: "unit:<M|KM|FT|MI>?",
        reason: "As in the other commands of geo, where the server requires it",
    },
    Part {
        operations: &["georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "geosearch", "geosearchstore"],
        theirs: "count:{count=COUNT:integer any=ANY:flag?}?",
        ours: "count=COUNT:integer? any=ANY:flag?",
        reason: "A block without a token is its arguments",
    },
    Part {
        operations: &["georadius", "georadiusbymember"],
        theirs: "store=STORE:key? storedist=STOREDIST:key?",
        ours: "(store=STORE:key | storedist=STOREDIST:key)?",
        reason: "The server heeds the last of them alone",
    },
    Part {
        operations: &["geosearch", "geosearchstore"],
        theirs: "(circle:{byradius=BYRADIUS:double unit:<M|KM|FT|MI>} | box:{bybox=BYBOX:double height:double unit:<M|KM|FT|MI>})",
        ours: "(byradius=BYRADIUS:{radius:double unit:<M|KM|FT|MI>} | bybox=BYBOX:{width:double height:double unit:<M|KM|FT|MI>})",
        reason: "The token is of the block and not of its first number",
    },
    Part {
        operations: &["bitcount"],
        theirs: "index:{start:integer end:integer (byte=BYTE:flag | bit=BIT:flag)?}?",
        ours: "start:integer? end:integer? unit:<BYTE|BIT>?",
        reason: "A block without a token is its arguments; `bit` is another argument of bitpos",
    },
    Part {
        operations: &["bitpos"],
        theirs: "index:{start:integer end_index:{end:integer (byte=BYTE:flag | bit=BIT:flag)?}?}?",
        ours: "start:integer? end:integer? unit:<BYTE|BIT>?",
        reason: "As in bitcount",
    },
    Part {
        operations: &["bitop"],
        theirs: "operation:bytes",
        ours: "operation:<AND|OR|XOR|NOT|DIFF|DIFF1|ANDOR|ONE>",
        reason: "The words are known",
    },
    Part {
        operations: &["bitfield_ro"],
        theirs: "gets=GET…:[bytes integer]?",
        ours: "operations:[{get=GET:{encoding:bytes offset:bytes}}]?",
        reason: "As in bitfield, whose offsets may begin with `#`",
    },
];

/// Operations that see or change more of a key than the server says.
pub static ROLES: &[(&str, &str)] = &[
    ("zadd", "With INCR it answers with the score"),
    ("bitfield", "The server looks for what changes; to read alone there is bitfield_ro"),
];

/// Arguments that the server does not take together, by words of its refusal.
pub static CLASHES: &[(&str, &str, &str)] = &[
    ("zrange", "syntax", "LIMIT needs BYSCORE or BYLEX"),
    ("zrangestore", "syntax", "As zrange"),
    ("georadius", "not compatible", "What is stored is not answered with"),
    ("georadiusbymember", "not compatible", "As georadius"),
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
        operation: "bitfield",
        theirs: "key:key (get=GET:{encoding:bytes offset:integer} | write:{overflow=OVERFLOW:<WRAP|SAT|FAIL>? \
                 (set=SET:{encoding:bytes offset:integer value:integer} | incrby=INCRBY:{encoding:bytes offset:integer increment:integer})})?",
        ours: "key:key operations:[{(get=GET:{encoding:bytes offset:bytes} | set=SET:{encoding:bytes offset:bytes value:integer} | \
               incrby=INCRBY:{encoding:bytes offset:bytes increment:integer} | overflow=OVERFLOW:<WRAP|SAT|FAIL>)}]?",
        reason: "A choice that repeats is a list of objects; an offset may begin with `#`; OVERFLOW holds for all that follows",
    },
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
pub static DEFAULTS: &[(&str, &str, &str)] = &[
    ("scan", "cursor", "The first page begins at 0"),
    ("hscan", "cursor", "As in scan"),
    ("sscan", "cursor", "As in scan"),
    ("zscan", "cursor", "As in scan"),
    ("lrange", "start", "The whole list has no range"),
    ("lrange", "stop", "As its start"),
    ("lrem", "count", "All that are equal, as with 0"),
    ("zrange", "start", "The whole sorted set has no range"),
    ("zrange", "stop", "As its start"),
];

/// Dangerous to the server, and yet no matter of administration: they work on keys that a grant can name.
pub static CLASSES: &[(&str, &str)] =
    &[("restore", "It writes one key"), ("sort", "It reads one key, and its patterns are checked on their own"), ("sort_ro", "As sort")];

/// Operations that are split in another way than the server advises.
pub static SPLITS: &[(&str, &str)] =
    &[("msetnx", "It is all or nothing, which its parts would not be"), ("wait", "It is about one connection, not about nodes")];
