//! Which addresses an answer may lead to.

use super::*;
use crate::config::LibraryConfig;

fn rule(download_url: &str) -> Rule {
    let mut config = LibraryConfig::default().civitai;
    config.download_url = Url::parse(download_url).unwrap();
    config.url = config.download_url.clone();
    Rule::of(&config)
}

fn may(rule: &Rule, url: &str) -> bool {
    rule.check(&Url::parse(url).unwrap()).is_ok()
}

#[test]
fn what_is_public_may_be_asked() {
    let rule = rule("https://civitai.example/");
    for url in [
        "https://files.example/a?b",
        "https://93.184.215.14/",
        "https://[2606:2800:220:1::1]/",
        "https://civitai.example/login",
    ] {
        assert!(may(&rule, url), "{url}");
    }
}

#[test]
fn what_is_within_a_network_may_not() {
    let rule = rule("https://civitai.example/");
    for url in [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://255.255.255.255/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[fc00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:7f00:1::]/",
    ] {
        assert!(!may(&rule, url), "{url}");
    }
}

#[test]
fn only_the_web_is_asked_and_without_tls_only_where_the_configured_one_is() {
    let secure = rule("https://civitai.example/");
    let plain = rule("http://civitai.example/");
    assert!(!may(&secure, "http://files.example/"));
    assert!(may(&plain, "http://files.example/"));
    for url in [
        "ftp://files.example/",
        "file:///etc/passwd",
        "data:text/plain,a",
    ] {
        assert!(!may(&secure, url), "{url}");
        assert!(!may(&plain, url), "{url}");
    }
}

#[test]
fn a_configured_host_within_the_network_may_lead_within_it_but_not_to_metadata() {
    for base in [
        "http://127.0.0.1:8080/",
        "http://[::1]:80/",
        "http://mirror/",
        "http://a.lan/",
    ] {
        let rule = rule(base);
        assert!(may(&rule, "http://192.168.1.1/"), "{base}");
        for url in [
            "http://169.254.169.254/",
            "http://[fd00:ec2::254]/",
            "http://0.0.0.0/",
        ] {
            assert!(!may(&rule, url), "{base} {url}");
        }
    }
    assert!(!may(
        &rule("http://civitai.example/"),
        "http://192.168.1.1/"
    ));
}

#[tokio::test]
async fn a_name_that_means_this_machine_is_not_connected_to() {
    let resolved = |base: &str| {
        let name: Name = "localhost".parse().unwrap();
        Resolver(rule(base)).resolve(name)
    };
    assert!(resolved("https://civitai.example/").await.is_err());
    assert!(resolved("http://127.0.0.1/").await.unwrap().count() > 0);
    assert!(resolved("https://localhost/").await.unwrap().count() > 0);
}
