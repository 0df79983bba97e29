use super::*;

const BEFORE: &str = r#"# TYPE dbx_calls_total counter
dbx_calls_total{operation="get",outcome="ok"} 100
dbx_calls_total{operation="get",outcome="timeout"} 1
dbx_calls_total_of_another 7
"#;
const AFTER: &str = r#"dbx_calls_total{operation="get",outcome="ok"} 300
dbx_calls_total{operation="get",outcome="timeout"} 5
dbx_calls_total{operation="set",outcome="ok"} 20
dbx_calls_in_flight 3
dbx_connections 12
dbx_sockets 2
dbx_resident_memory_bytes 18874368
"#;

#[test]
fn rates_are_of_the_time_between() {
    let load = load(BEFORE, AFTER, Duration::from_secs(2));
    assert_eq!(load, [112.0, 2.0, 3.0, 12.0, 2.0, 18.0 * MIB].map(Some));
    // A pod that was restarted in between counts from nothing.
    assert_eq!(super::load(AFTER, BEFORE, Duration::from_secs(1))[0], Some(0.0));
    assert_eq!(super::load("", "", Duration::from_secs(1)), [Some(0.0), Some(0.0), None, None, None, None]);
}

#[test]
fn a_line_for_each_and_the_sum() {
    let load = load(BEFORE, AFTER, Duration::from_secs(1));
    let mut other = load;
    other[5] = None;
    insta::assert_snapshot!(render(&[("abcde", load), ("fghij", other)]));
}
