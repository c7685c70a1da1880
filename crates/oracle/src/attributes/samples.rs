//! Samples of JSON members: attributes, valid and invalid, and keys that only look like attributes.

/// All are well-formed JSON.
const MEMBERS: &[&str] = &[
    r#""activity":"logon""#,
    r#""activity":"Service_Ticket""#,
    r#""activity":"login""#,
    r#""outcome":"failure""#,
    r#""outcome":"SUCCESS""#,
    r#""outcome":true"#,
    r#""outcome":null"#,
    r#""reason":"bad_password""#,
    r#""reason":" locked ""#,
    r#""source_ip":"10.0.0.7""#,
    r#""source_ip":"::FFFF:10.0.0.7""#,
    r#""source_ip":"2001:db8:0:0:0:0:0:1""#,
    r#""source_ip":"10.0.0.7:4711""#,
    r#""source_ip":"0.0.0.0""#,
    r#""source_ip":"""#,
    r#""source_computer":"\tWS-1 ""#,
    r#""source_computer":"a,b""#,
    r#""kind":"remote_interactive""#,
    r#""kind":10"#,
    r#""method":"Kerberos""#,
    r#""method":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
    r#""mfa":true"#,
    r#""mfa":false"#,
    r#""mfa":"true""#,
    r#""actor":"DOM\\admin""#,
    r#""app":"\ud83d\ude00 mail, v2""#,
    r#""app":"\ud800""#,
    r#""app":["mail"]"#,
    r#""device":"a\u0007b""#,
    r#""device":"laptop""#,
    r#""session":"0x3e7""#,
    r#""session":{"id":1}"#,
    r#""site":"  ""#,
    r#""site":"Z\u00fcrich""#,
    r#""role":"admin""#,
    r#""role":NaN"#,
    r#""country":"CH""#,
    r#""lat":47.3769"#,
    r#""lat":-90"#,
    r#""lat":90.001"#,
    r#""lat":"47""#,
    r#""lon":8.54e0"#,
    r#""lon":-1e-3"#,
    r#""lon":180.005"#,
    r#""user_agent":"curl/8.1 (x; y)""#,
    r#""user_agent":5"#,
    r#""source":"okta/1""#,
    r#""s\u006furce":"okta/2""#,
    r#""Source":"is none of them""#,
    r#""unknown":{"source":"nor this"}"#,
];

/// Up to three members, chosen by a number, each followed by a comma. The same one may occur twice.
pub fn members(n: u16) -> String {
    let n = usize::from(n);
    let mut members = String::new();
    for at in [n, n / 7, n / 61].iter().take(1 + n % 3) {
        members.push_str(MEMBERS[at % MEMBERS.len()]);
        members.push(',');
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Json, read};

    #[test]
    fn every_sample_is_a_member_and_they_are_of_all_sorts() {
        let of = |member: &str| {
            let Some(Json::Object(members)) = read(format!("{{{member}}}").as_bytes()) else { panic!("{member}") };
            crate::attributes::read(&members)
        };
        let all: Vec<_> = MEMBERS.iter().map(|member| of(member)).collect();
        let columns: std::collections::BTreeSet<_> = all.iter().flat_map(|(attributes, _)| attributes.keys()).collect();
        // As many as the page has columns: the list of the event crate is not known here.
        assert_eq!(columns.len(), 19, "a sample of each, and no more columns than the page has: {columns:?}");
        assert_eq!(all.iter().map(|(_, dropped)| dropped).sum::<usize>(), 17);
        assert!((0..u16::MAX).any(|n| members(n).matches("\"lat\"").count() == 2));
    }
}
