//! Encrypted connections and passwords, against a broker that asks for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, StringArray};
use levada_connector_api::*;
use levada_services::kafka::{Kafka, PLAIN_USER, SCRAM_USER};
use rcgen::{CertificateParams, KeyPair};

use crate::sink::write_to;
use crate::support::{make, trigger, unique};

const COMMON: [(&str, &str); 3] =
    [("kafka.security.protocol", "SASL_SSL"), ("value.converter", "string"), ("metadata.columns", "")];

#[tokio::test(flavor = "multi_thread")]
async fn each_mechanism_lets_the_right_user_in() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let Some((_kafka, address)) = Kafka::start_secure(&format!("{}{certificate}", key.serialize_pem())) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let (server, ca) = (("bootstrap.servers", address.as_str()), ("kafka.ssl.ca.location", ca.to_str().unwrap()));
    let password = |mechanism, (user, password)| {
        vec![("kafka.sasl.mechanism", mechanism), ("kafka.sasl.username", user), ("kafka.sasl.password", password)]
    };
    let token = vec![
        ("kafka.sasl.mechanism", "OAUTHBEARER"),
        ("kafka.enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("kafka.sasl.oauthbearer.config", "principal=carol"),
    ];
    for user in [password("PLAIN", PLAIN_USER), password("SCRAM-SHA-256", SCRAM_USER), token] {
        let topic = unique("secure");
        let access: Vec<_> = [server, ca, COMMON[0]].into_iter().chain(user.iter().copied()).collect();
        let rows = RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["a", "b"])) as _)]).unwrap();
        let sink: Vec<_> = access.iter().copied().chain([("topic", topic.as_str())]).collect();
        write_to(rows, &sink).await.unwrap_or_else(|e| panic!("{user:?}: {e}"));
        let given: Vec<_> = access.iter().copied().chain([("topics", topic.as_str()), COMMON[1], COMMON[2]]).collect();
        let mut source = make(&given);
        source.open(&TaskContext::new(&topic), &Offsets::new()).await.unwrap();
        assert_eq!(trigger(&mut *source, 0).await.rows.len(), 2, "{user:?}");
    }
    for (user, ca, part) in [
        (password("PLAIN", ("ana", "wrong")), Some(ca), "check kafka.sasl.username"),
        (password("SCRAM-SHA-256", ("ana", "plain-secret")), Some(ca), "check kafka.sasl.username"),
        (password("PLAIN", PLAIN_USER), None, "check kafka.ssl.ca.location"),
    ] {
        let given: Vec<_> = [server, COMMON[0], ("topics", "any")].into_iter().chain(ca).chain(user).collect();
        let before = Instant::now();
        let error = make(&given).open(&TaskContext::new("p"), &Offsets::new()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(before.elapsed() < Duration::from_secs(20), "said at once, not after a time-out");
    }
}
