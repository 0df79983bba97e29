use super::*;

const CONFIG: &str = "
databases:
  - { name: redis, redis: { url: 'redis://a', users: [{ name: tenant, passwordFrom: { env: P } }] } }
auth:
  grants:
    - { to: ['key:web'], access: [read], keys: ['cart:*'], prefix: 'shop:' }
    - { to: ['group:ops'], access: [all] }
    - { to: ['group:ops'], effect: deny, access: [all], keys: ['secret:*'] }
    - { to: ['jwt:both'], access: [read] }
    - { to: ['jwt:both'], access: [write], keys: ['out:*'] }
    - { to: ['jwt:script'], access: [read, write], keys: ['a:*'], backendUser: tenant }
";

fn explain(caller: &str, groups: &[&str], call: &str) -> Result<(bool, String), String> {
    let config: GatewayConfig = serde_yaml::from_str(CONFIG).unwrap();
    let groups = groups.iter().map(ToString::to_string).collect();
    let asked = Explain { settings: Settings::default(), caller: caller.into(), groups, id: None, call: call.into() };
    asked.explain(&config, Path::new("/nowhere"))
}

#[test]
fn what_decides_is_told() {
    for (caller, groups, call, answer) in [
        (
            "key:web",
            &[][..],
            r#"{"op":"hget","args":{"key":"cart:1","field":"a b"}}"#,
            "allowed\nby: auth.grants[0]\nsent to `redis`: HGET shop:cart:1 \"a b\"\n",
        ),
        (
            "key:web",
            &[],
            r#"{"op":"get","args":{"key":"a"}}"#,
            "refused: no grant lets `get` see one of the keys\nnot allowed by any of: auth.grants[0]\n",
        ),
        (
            "key:web",
            &[],
            r#"{"op":"raw","args":{"command":["get","cart:1"]}}"#,
            "allowed\nby: auth.grants[0]\nsent to `redis`: get shop:cart:1\n",
        ),
        (
            "key:other",
            &[],
            r#"{"op":"get","args":{"key":"a"}}"#,
            "refused: no grant allows `get`, which is of the class `read`\nno grant is about `key:other` at `redis`\n",
        ),
        (
            "jwt:a",
            &["group:ops"],
            r#"{"op":"get","args":{"key":"a"},"database":"redis"}"#,
            "allowed\nby: auth.grants[1]\nsent to `redis`: GET a\n",
        ),
        (
            "jwt:a",
            &["group:ops"],
            r#"{"op":"get","args":{"key":"secret:1"}}"#,
            "refused: a grant denies `get` one of the keys\nby: auth.grants[2]\n",
        ),
        (
            "jwt:both",
            &[],
            r#"{"op":"copy","args":{"source":"a","destination":"out:1"}}"#,
            "allowed\nby: auth.grants[3], auth.grants[4]\nsent to `redis`: COPY a out:1\n",
        ),
        (
            "jwt:script",
            &[],
            r#"{"op":"eval","args":{"script":"return 1","keys":["a:1"]}}"#,
            "allowed\nby: auth.grants[5]\nsent to `redis`: EVAL \"return 1\" 1 a:1\nas the database's user: tenant\n",
        ),
    ] {
        let (is_allowed, text) = explain(caller, groups, call).unwrap();
        assert_eq!(text, answer, "{caller} {call}");
        assert_eq!(is_allowed, text.starts_with("allowed"));
    }
}

#[test]
fn what_cannot_be_explained_is_told() {
    for (call, words) in [
        ("{", "--call"),
        (r#"{"op":"nonsense"}"#, "nonsense"),
        (r#"{"op":"get","args":{"kye":"a"}}"#, "kye"),
        (r#"{"op":"get","args":{"key":"a"},"database":"other"}"#, "other"),
        (r#"{"op":"follow","args":{"key":"a"}}"#, "xread"),
        (r#"{"op":"get","args":{"key":"a"},"encoding":"hex"}"#, "encoding"),
        (r#"{"op":"raw","args":{"command":"get"}}"#, "args"),
    ] {
        let message = explain("key:web", &[], call).unwrap_err();
        assert!(message.contains(words), "{call}: {message}");
    }
}
