//! Where the table differs from the server's documentation on purpose: a list for each kind of difference, a reason for each
//! entry. The tests fail for an entry that is no longer needed.

use dbx_gateway::operation::Class;

/// Commands that are no operations. `*` stands for all of a module.
pub static ABSENT: &[(&str, &str)] = &[
    ("debug", "It is for those who work on the server itself, and has no documented arguments"),
    ("pfdebug", "As debug"),
    ("pfselftest", "As debug"),
    ("psync", "It is how replicas follow their primary"),
    ("replconf", "As psync"),
    ("sync", "As psync"),
    ("restore-asking", "It is how a slot moves from node to node"),
    ("cluster|syncslots", "As restore-asking"),
    ("bf.*", "Bloom filters are a module that is not in the table; `raw` calls it"),
    ("cf.*", "As bf"),
    ("cms.*", "As bf"),
    ("tdigest.*", "As bf"),
    ("topk.*", "As bf"),
    ("ft.*", "Search is a module that is not in the table; `raw` calls it"),
    ("ts.*", "Time series are a module that is not in the table; `raw` calls it"),
    ("timeseries.*", "It is how nodes of that module talk to each other"),
];

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
    Rename { operation: "acl_cat", derived: "categoryname", ours: "category", reason: "As later servers have it" },
    Rename { operation: "client_capa", derived: "capabilitys", ours: "capabilities", reason: "It is their plural" },
    Rename { operation: "client_tracking", derived: "prefixs", ours: "prefixes", reason: "It is their plural" },
    Rename { operation: "cluster_addslotsrange", derived: "start_slot_end_slots", ours: "ranges", reason: "As later servers have it" },
    Rename { operation: "cluster_delslotsrange", derived: "start_slot_end_slots", ours: "ranges", reason: "As later servers have it" },
    Rename { operation: "mset", derived: "key_values", ours: "values", reason: "The pairs go by what is stored" },
    Rename { operation: "msetex", derived: "datas", ours: "values", reason: "As in mset" },
    Rename { operation: "msetnx", derived: "key_values", ours: "values", reason: "As in mset" },
    // Later servers call every block that has no name of its own `data`.
    Rename { operation: "hmset", derived: "datas", ours: "fields", reason: "The pairs go by what they are to the hash" },
    Rename { operation: "hset", derived: "datas", ours: "fields", reason: "As in hmset" },
    Rename { operation: "geoadd", derived: "datas", ours: "members", reason: "As in zadd" },
    Rename { operation: "mset", derived: "datas", ours: "values", reason: "The pairs go by what is stored" },
    Rename { operation: "msetnx", derived: "datas", ours: "values", reason: "As in mset" },
    Rename { operation: "config_set", derived: "datas", ours: "parameters", reason: "As in config_get" },
    Rename { operation: "xadd", derived: "datas", ours: "fields", reason: "The pairs go by what they are to the entry" },
    Rename { operation: "client_reply", derived: "action", ours: "on_off_skip", reason: "As Redis 7.0 has it" },
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
        operations: &["cluster_migrateslots"],
        theirs: "slotsranges=SLOTSRANGE:[{ranges:[integer integer] node=NODE:flag node_id:bytes}]",
        ours: "migrations:[{ranges=SLOTSRANGE:[integer integer] node=NODE:bytes}]",
        reason: "A word and what it announces are one argument; a migration has ranges and a node",
    },
    Part {
        operations: &["client_kill"],
        theirs: "(ip:port:bytes | (id=ID:integer? | type=TYPE:<NORMAL|MASTER|SLAVE|REPLICA|PUBSUB>? | user=USER:bytes? | addr=ADDR:bytes? | \
                 laddr=LADDR:bytes? | skipme=SKIPME:bytes?))",
        ours: "filters:[{(id=ID:integer | type=TYPE:<NORMAL|MASTER|REPLICA|PUBSUB> | user=USER:bytes | addr=ADDR:bytes | \
               laddr=LADDR:bytes | skipme=SKIPME:<YES|NO>)}]",
        reason: "A choice that repeats is a list of objects; the older form is `addr`, and SLAVE is REPLICA",
    },
    Part {
        operations: &["client_list"],
        theirs: "id=ID:{client_ids:[integer]}?",
        ours: "ids=ID:[integer]?",
        reason: "A block of a list is that list",
    },
    Part {
        operations: &["hello"],
        theirs: "arguments:{protover:integer auth=AUTH:{username:bytes password:bytes}? setname=SETNAME:bytes?}?",
        ours: "protover:integer? auth=AUTH:{username:bytes password:bytes}? setname=SETNAME:bytes?",
        reason: "A block without a token is its arguments",
    },
    Part {
        operations: &["command_list"],
        theirs: "(module=MODULE:bytes | aclcat=ACLCAT:bytes | pattern=PATTERN:bytes)?",
        ours: "filterby=FILTERBY:{(module=MODULE:bytes | aclcat=ACLCAT:bytes | pattern=PATTERN:bytes)}?",
        reason: "The token FILTERBY is of the choice",
    },
    Part {
        operations: &["module_loadex"],
        theirs: "configs=CONFIG…:[bytes bytes]? args=ARGS:[{arg:bytes}]?",
        ours: "configs:[{name=CONFIG:bytes value:bytes}]? args=ARGS:[bytes]?",
        reason: "Pairs that have a token each are objects; a block of one is that one",
    },
    Part {
        operations: &["replicaof", "slaveof"],
        theirs: "(host_port:{host:bytes port:integer} | no=NO:{one=ONE:flag})",
        ours: "host:bytes port:bytes",
        reason: "NO ONE stands in place of a host and a port",
    },
    Part {
        operations: &["xadd", "xtrim"],
        theirs: "trim:{strategy:<MAXLEN|MINID> (===:flag | ~=~:flag)? threshold:bytes limit=LIMIT:integer?}",
        ours: "trim:{(maxlen=MAXLEN:integer | minid=MINID:bytes) limit=LIMIT:integer?}",
        reason: "A strategy and its threshold are one argument, and `~` is the flag `approximate`",
    },
    Part {
        operations: &["xadd"],
        theirs: "(*=*:flag | id:bytes) field_values:[bytes bytes]",
        ours: "id:bytes fields:[bytes bytes]",
        reason: "`*` is an id like another; the pairs go by what they are to the entry",
    },
    Part {
        operations: &["xgroup_create", "xgroup_setid"],
        theirs: "groupname:bytes (id:bytes | $=$:flag)",
        ours: "group:bytes id:bytes",
        reason: "`$` is an id like another; a group is `group` in the other commands and in later servers",
    },
    Part {
        operations: &["xgroup_createconsumer", "xgroup_delconsumer"],
        theirs: "groupname:bytes consumername:bytes",
        ours: "group:bytes consumer:bytes",
        reason: "As in xgroup_create",
    },
    Part {
        operations: &["xgroup_destroy", "xinfo_consumers"],
        theirs: "groupname:bytes",
        ours: "group:bytes",
        reason: "As in xgroup_create",
    },
    Part {
        operations: &["xautoclaim", "xclaim"],
        theirs: "min_idle_time:bytes",
        ours: "min_idle_time:integer",
        reason: "They are milliseconds",
    },
    Part {
        operations: &["xread", "xreadgroup"],
        theirs: "streams=STREAMS:{keys:[key] ids:[bytes]}",
        ours: "streams=STREAMS:[key bytes]",
        reason: "Each stream has its id",
    },
    Part {
        operations: &["psubscribe"],
        theirs: "patterns:[{pattern:bytes}]",
        ours: "patterns:[bytes]",
        reason: "A block of one is that one",
    },
    Part { operations: &["config_get"], theirs: "parameters:[{parameter:bytes}]", ours: "parameters:[bytes]", reason: "As psubscribe" },
    Part {
        operations: &["config_set"],
        theirs: "parameter_values:[bytes bytes]",
        ours: "parameters:[bytes bytes]",
        reason: "As in config_get",
    },
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
    Part {
        operations: &["xadd"],
        theirs: "(*=*:flag | id:bytes) fields:[bytes bytes]",
        ours: "id:bytes fields:[bytes bytes]",
        reason: "`*` is an id like another",
    },
    Part {
        operations: &["xgroup_create", "xgroup_setid"],
        theirs: "group:bytes (id:bytes | $=$:flag)",
        ours: "group:bytes id:bytes",
        reason: "`$` is an id like another",
    },
    Part {
        operations: &["zadd"],
        theirs: "datas:[double bytes]",
        ours: "members:[{score:double member:bytes}]",
        reason: "A member stands beside its score as in answers",
    },
    Part {
        operations: &["georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "geosearch", "geosearchstore"],
        theirs: "count_block:{count=COUNT:integer any=ANY:flag?}?",
        ours: "count=COUNT:integer? any=ANY:flag?",
        reason: "A block without a token is its arguments",
    },
    Part {
        operations: &["geosearch", "geosearchstore"],
        theirs: "(frommember=FROMMEMBER:bytes | fromlonlat=FROMLONLAT:{longitude:double latitude:double})? (circle:{byradius=BYRADIUS:double \
                 unit:<M|KM|FT|MI>} | box:{bybox=BYBOX:double height:double unit:<M|KM|FT|MI>} | polygon:{bypolygon=BYPOLYGON:integer \
                 vertices:[double double]})",
        ours: "(frommember=FROMMEMBER:bytes | fromlonlat=FROMLONLAT:{longitude:double latitude:double}) (byradius=BYRADIUS:{radius:double \
               unit:<M|KM|FT|MI>} | bybox=BYBOX:{width:double height:double unit:<M|KM|FT|MI>} | bypolygon=BYPOLYGON:{vertices:\
               #[{longitude:double latitude:double}]})",
        reason: "The token is of the block; only a polygon has no centre, and is given instead of one",
    },
    Part {
        operations: &["geohash", "geopos"],
        theirs: "members:[bytes]?",
        ours: "members:[bytes]",
        reason: "Without a member nothing is asked",
    },
    Part { operations: &["pfmerge"], theirs: "sourcekeys:[key]?", ours: "sourcekeys:[key]", reason: "Without a source nothing is merged" },
    Part {
        operations: &["command_getkeys", "command_getkeysandflags"],
        theirs: "args:[bytes]?",
        ours: "args:[bytes]",
        reason: "A command without arguments has no keys, and the server refuses it",
    },
    Part {
        operations: &["bitcount", "bitpos"],
        theirs: "range:{start:integer end_unit_block:{end:integer (byte=BYTE:flag | bit=BIT:flag)?}?}?",
        ours: "start:integer? end:integer? unit:<BYTE|BIT>?",
        reason: "A block without a token is its arguments",
    },
    Part {
        operations: &["bitcount"],
        theirs: "range:{start:integer end:integer (byte=BYTE:flag | bit=BIT:flag)?}?",
        ours: "start:integer? end:integer? unit:<BYTE|BIT>?",
        reason: "As above",
    },
    Part {
        operations: &["bitop"],
        theirs: "operation:<AND|OR|XOR|NOT>",
        ours: "operation:<AND|OR|XOR|NOT|DIFF|DIFF1|ANDOR|ONE>",
        reason: "Redis 8.2 has more words, which older servers refuse",
    },
    Part {
        operations: &["script_debug"],
        theirs: "mode:<YES|SYNC|NO> engine:bytes?",
        ours: "mode:<YES|SYNC|NO>",
        reason: "Scripts are in Lua",
    },
    Part {
        operations: &["module_loadex"],
        theirs: "configs=CONFIG…:[bytes bytes]?",
        ours: "configs:[{name=CONFIG:bytes value:bytes}]?",
        reason: "Pairs that have a token each are objects",
    },
    Part {
        operations: &["shutdown"],
        theirs: "(save_selector_block:{(nosave=NOSAVE:flag | save=SAVE:flag)? now=NOW:flag? force=FORCE:flag? safe=SAFE:flag? \
                 failover=FAILOVER:flag?} | abort=ABORT:flag)?",
        ours: "(nosave=NOSAVE:flag | save=SAVE:flag)? now=NOW:flag? force=FORCE:flag? safe=SAFE:flag? failover=FAILOVER:flag? \
               abort=ABORT:flag?",
        reason: "A block without a token is its arguments",
    },
    Part {
        operations: &["cluster_replicate"],
        theirs: "(node_id:bytes | no=NO:{one=ONE:flag})",
        ours: "node_id:bytes",
        reason: "To follow nobody is Valkey's alone",
    },
];

/// Operations that see or change more of a key than the server says.
pub static ROLES: &[(&str, &str)] = &[
    ("xautoclaim", "It answers with entries"),
    ("xclaim", "It answers with entries"),
    ("xreadgroup", "What a group was given is written down"),
    ("zadd", "With INCR it answers with the score"),
    ("bitfield", "The server looks for what changes; to read alone there is bitfield_ro"),
];

/// Arguments that the server does not take together, by words of its refusal.
pub static CLASHES: &[(&str, &str, &str)] = &[
    ("client_list", "syntax", "Only Valkey takes TYPE beside ID"),
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
        operation: "command_getkeys",
        theirs: "",
        ours: "command:bytes args:[bytes]",
        reason: "The server documents none, and takes a call",
    },
    Structure { operation: "command_getkeysandflags", theirs: "", ours: "command:bytes args:[bytes]", reason: "As command_getkeys" },
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
    Structure {
        operation: "client_kill",
        theirs: "(old_format:bytes | (ids=ID:[integer]? | type=TYPE:<NORMAL|MASTER|PRIMARY|SLAVE|REPLICA|PUBSUB>? | \
                 user=USER:bytes? | addr=ADDR:bytes? | laddr=LADDR:bytes? | skipme=SKIPME:<YES|NO>? | \
                 maxage=MAXAGE:integer? | name=NAME:bytes? | idle=IDLE:integer? | flags=FLAGS:bytes? | \
                 lib_name=LIB-NAME:bytes? | lib_ver=LIB-VER:bytes? | db=DB:integer? | capa=CAPA:bytes? | ip=IP:bytes? | \
                 not_type=NOT-TYPE:<NORMAL|MASTER|PRIMARY|SLAVE|REPLICA|PUBSUB>? | not_ids=NOT-ID:[integer]? | \
                 not_user=NOT-USER:bytes? | not_addr=NOT-ADDR:bytes? | not_laddr=NOT-LADDR:bytes? | \
                 not_name=NOT-NAME:bytes? | not_flags=NOT-FLAGS:bytes? | not_lib_name=NOT-LIB-NAME:bytes? | \
                 not_lib_ver=NOT-LIB-VER:bytes? | not_db=NOT-DB:integer? | not_capa=NOT-CAPA:bytes? | \
                 not_ip=NOT-IP:bytes?))",
        ours: "filters:[{(id=ID:integer | type=TYPE:<NORMAL|MASTER|REPLICA|PUBSUB> | user=USER:bytes | addr=ADDR:bytes | \
               laddr=LADDR:bytes | skipme=SKIPME:<YES|NO> | maxage=MAXAGE:integer | name=NAME:bytes | idle=IDLE:integer | \
               flags=FLAGS:bytes | lib_name=LIB-NAME:bytes | lib_ver=LIB-VER:bytes | db=DB:integer | capa=CAPA:bytes | \
               ip=IP:bytes | not_type=NOT-TYPE:<NORMAL|MASTER|REPLICA|PUBSUB> | not_ids=NOT-ID:[integer] | \
               not_user=NOT-USER:bytes | not_addr=NOT-ADDR:bytes | not_laddr=NOT-LADDR:bytes | not_name=NOT-NAME:bytes | \
               not_flags=NOT-FLAGS:bytes | not_lib_name=NOT-LIB-NAME:bytes | not_lib_ver=NOT-LIB-VER:bytes | \
               not_db=NOT-DB:integer | not_capa=NOT-CAPA:bytes | not_ip=NOT-IP:bytes)}]",
        reason: "A choice that repeats is a list of objects; the older form is `addr`; PRIMARY and SLAVE have one name each, and ids are one filter each",
    },
    Structure {
        operation: "client_kill",
        theirs: "(old_format:bytes | (id=ID:integer? | type=TYPE:<NORMAL|MASTER|SLAVE|REPLICA|PUBSUB>? | user=USER:bytes? | \
                 addr=ADDR:bytes? | laddr=LADDR:bytes? | skipme=SKIPME:<YES|NO>? | maxage=MAXAGE:integer?))",
        ours: "filters:[{(id=ID:integer | type=TYPE:<NORMAL|MASTER|REPLICA|PUBSUB> | user=USER:bytes | addr=ADDR:bytes | \
               laddr=LADDR:bytes | skipme=SKIPME:<YES|NO> | maxage=MAXAGE:integer)}]",
        reason: "As above",
    },
    Structure {
        operation: "migrate",
        theirs: "host:bytes port:integer (key:key | =:flag) destination_db:integer timeout:integer copy=COPY:flag? \
                 replace=REPLACE:flag? (auth=AUTH:bytes | auth2=AUTH2:{username:bytes password:bytes})? keys=KEYS:[key]?",
        ours: "host:bytes port:integer destination_db:integer timeout:integer copy=COPY:flag? replace=REPLACE:flag? \
               (auth=AUTH:bytes | auth2=AUTH2:{username:bytes password:bytes})? keys=KEYS:[key]",
        reason: "One key or many, they are always in `keys`",
    },
];

/// Versions that servers do not agree on.
pub static SINCES: &[(&str, &str, &str)] =
    &[("client_pause", "3.0.0", "Redis 7.0 names the preview that had it first, and later servers the release")];

/// Arguments that the server requires and that need not be given.
pub static DEFAULTS: &[(&str, &str, &str)] = &[
    ("scan", "cursor", "The first page begins at 0"),
    ("hscan", "cursor", "As in scan"),
    ("sscan", "cursor", "As in scan"),
    ("zscan", "cursor", "As in scan"),
    ("lrange", "start", "The whole list has no range"),
    ("lrange", "stop", "As its start"),
    ("lrem", "count", "All that are equal, as with 0"),
    ("clusterscan", "cursor", "As in scan"),
    ("xadd", "id", "The server makes one"),
    ("xrange", "start", "The whole stream has no range"),
    ("xrange", "end", "As its start"),
    ("xrevrange", "start", "As in xrange"),
    ("xrevrange", "end", "As in xrange"),
    ("zrange", "start", "The whole sorted set has no range"),
    ("zrange", "stop", "As its start"),
];

/// Operations that need another grant than the server's categories and flags suggest.
pub static CLASSES: &[(&str, Class, &str)] = &[
    ("cluster_countkeysinslot", Class::Read, "It tells of keys, which everybody may not know of"),
    ("restore", Class::Write, "It writes one key, which a grant can name"),
    ("sort", Class::Write, "It is about keys that a grant can name; its patterns are checked on their own"),
    ("sort_ro", Class::Read, "As sort"),
    ("info", Class::Read, "Everybody who sees data asks how the server is"),
    ("role", Class::Read, "As info"),
    ("memory_doctor", Class::Read, "As info"),
    ("memory_malloc_stats", Class::Read, "As info"),
    ("memory_stats", Class::Read, "As info"),
    ("memory_purge", Class::Admin, "The server stands still meanwhile"),
    ("publish", Class::Publish, "It sends"),
    ("spublish", Class::Publish, "It sends"),
    ("script_exists", Class::Read, "It changes nothing"),
    ("script_show", Class::Read, "It changes nothing"),
    ("script_help", Class::Open, "It is a text"),
    ("function_dump", Class::Read, "It changes nothing"),
    ("function_help", Class::Open, "It is a text"),
    ("function_list", Class::Read, "It changes nothing"),
    ("function_stats", Class::Read, "It changes nothing"),
    ("cluster_slot_stats", Class::Read, "It tells how many keys there are"),
    ("cluster_getkeysinslot", Class::Read, "It tells the names of keys"),
];

/// Operations that are split in another way than the server advises.
pub static SPLITS: &[(&str, &str)] = &[
    ("msetnx", "It is all or nothing, which its parts would not be"),
    ("msetex", "As msetnx"),
    ("wait", "It is about one connection, not about nodes"),
    ("waitaof", "As wait"),
    ("pubsub_channels", "Each node knows who listens to itself"),
    ("pubsub_numpat", "As pubsub_channels"),
    ("pubsub_numsub", "As pubsub_channels"),
    ("pubsub_shardchannels", "As pubsub_channels"),
    ("pubsub_shardnumsub", "As pubsub_channels"),
    ("config_resetstat", "As config_set, of which the server says so"),
    ("config_rewrite", "As config_set"),
    ("acl_deluser", "A user that is gone at one node alone is a trap"),
    ("acl_setuser", "As acl_deluser"),
];
