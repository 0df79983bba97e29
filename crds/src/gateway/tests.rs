use super::*;

#[test]
fn prints() {
    println!("{}", serde_yaml::to_string(&crd()).unwrap());
}
