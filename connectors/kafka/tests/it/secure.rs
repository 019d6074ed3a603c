//! Encrypted connections and passwords, against a broker that asks for them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, StringArray};
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::{Kafka, PLAIN_USER, SCRAM_USER};
use rcgen::{CertificateParams, KeyPair};

use crate::sink::write_to;
use crate::support::{config, failure, make, trigger, unique};

const COMMON: [(&str, &str); 3] =
    [("kafka.security.protocol", "SASL_SSL"), ("value.converter", "string"), ("metadata.columns", "")];

/// A broker that asks for users.
struct Guarded {
    kafka: Kafka,
    address: String,
    ca: String,
    _folder: tempfile::TempDir,
}

/// The one that these tests share.
fn guarded() -> Option<&'static Guarded> {
    static SHARED: OnceLock<Option<Guarded>> = OnceLock::new();
    let start = || {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let certificate = certificate.pem();
        let (kafka, address) = Kafka::start_secure(&format!("{}{certificate}", key.serialize_pem()))?;
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, certificate).unwrap();
        Some(Guarded { kafka, address, ca: ca.display().to_string(), _folder: folder })
    };
    SHARED.get_or_init(start).as_ref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_revoked_is_told_with_the_topic() {
    let Some(Guarded { kafka, address, ca, .. }) = guarded() else { return };
    let topic = unique("revoked");
    let access = [
        ("bootstrap.servers", address.as_str()),
        ("kafka.ssl.ca.location", ca),
        COMMON[0],
        ("kafka.sasl.mechanism", "PLAIN"),
        ("kafka.sasl.username", PLAIN_USER.0),
        ("kafka.sasl.password", PLAIN_USER.1),
    ];
    let rows = RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["a", "b"])) as _)]).unwrap();
    let given: Vec<_> = access.iter().copied().chain([("topic", topic.as_str())]).collect();
    let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &given)).unwrap();
    sink.open(&TaskContext::new(&topic), rows.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, Batch::new(rows.clone())).await.unwrap();
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    let read = [("topics", topic.as_str()), COMMON[1], COMMON[2], ("kafka.fetch.wait.max.ms", "10")];
    let given: Vec<_> = access.iter().copied().chain(read).collect();
    let mut source = make(&given);
    source.open(&TaskContext::new(&topic), &Offsets::new()).await.unwrap();
    assert_eq!(trigger(&mut *source, 0).await.rows.len(), 2);

    for operation in ["Read", "Write"] {
        kafka.deny(PLAIN_USER.0, operation, &topic);
    }
    let error = failure(&mut *source).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error}");
    assert!(error.to_string().contains(&topic) && error.to_string().contains("kafka-acls"), "{error}");
    let write = async {
        sink.write(1, Batch::new(rows)).await?;
        sink.commit(&Commit { batch_id: 1, epoch: 1, offsets: Offsets::new() }).await
    };
    let error = write.await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error}");
    assert!(error.to_string().contains(&topic) && error.to_string().contains("kafka-acls"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mechanism_lets_the_right_user_in() {
    let Some(Guarded { address, ca, .. }) = guarded() else { return };
    let (server, ca) = (("bootstrap.servers", address.as_str()), ("kafka.ssl.ca.location", ca.as_str()));
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
        (password("SCRAM-SHA-512", SCRAM_USER), Some(ca), "check kafka.sasl.mechanism"),
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
