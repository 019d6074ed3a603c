//! Encrypted connections and passwords, against a server that takes nothing else.

use arrow::array::Int64Array;
use levada_connector_api::{ErrorKind, Retry};
use levada_services::postgres::Postgres;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{Database, array, connect, refused, rows, sink, write};

/// An authority's certificate, and a server's certificate and key that it has signed. All as PEM.
fn certificates(name: &str) -> (String, String, String) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let own = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (root, own.pem(), key.serialize_pem())
}

#[tokio::test]
async fn each_sslmode_checks_what_it_says() {
    let (root, certificate, key) = certificates("localhost");
    let (other_root, _, _) = certificates("localhost");
    let access = "host all postgres 127.0.0.1/32 trust\nhostssl all me 127.0.0.1/32 scram-sha-256\n";
    let files = [("server.crt", certificate.as_str()), ("server.key", &key), ("pg_hba.conf", access)];
    let Some(server) = Postgres::start_with(&["ssl=on"], &files) else { return };
    let client = connect(server.url()).await;
    for statement in ["CREATE ROLE me LOGIN PASSWORD 'p@ss/word'", "CREATE DATABASE mine OWNER me"] {
        client.batch_execute(statement).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (root, other_root) = (file("root.pem", &root), file("other.pem", &other_root));
    let batch = rows(vec![("n", array(Int64Array::from(vec![1])))]);
    let options = [("connection.user", "me"), ("connection.password", "p@ss/word"), ("auto.create", "true")];
    let url = |host: &str, query: &str| format!("postgres://{host}:{}/mine?{query}", server.port());
    for (host, query, works) in [
        ("localhost", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={root}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}"), true),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={root}"), false),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other_root}"), false),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={other_root}"), false),
        ("localhost", "sslmode=verify-full&sslrootcert=/no/such/file".to_owned(), false),
        ("localhost", "sslmode=disable".to_owned(), false),
    ] {
        let sink = sink(&url(host, &query), &options).unwrap();
        if works {
            write(sink, std::slice::from_ref(&batch)).await.unwrap_or_else(|e| panic!("{host} {query}: {e}"));
        } else {
            let error = refused(sink, std::slice::from_ref(&batch)).await;
            assert!(!error.to_string().contains("p@ss"), "{error}");
        }
    }
    let encrypted =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'me' AND NOT ssl";
    assert_eq!(client.query_one(encrypted, &[]).await.unwrap().get::<_, i64>(0), 0);
    let wrong = [("connection.user", "me"), ("connection.password", "no")];
    let error =
        refused(sink(&url("localhost", "sslmode=require"), &wrong).unwrap(), std::slice::from_ref(&batch)).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error:?}");
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    let none = [("connection.user", "me")];
    let error = refused(sink(&url("localhost", "sslmode=require"), &none).unwrap(), &[batch]).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error:?}");
    assert!(error.to_string().contains("password missing (set connection.password)"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_asked_for_it_again_and_again() {
    let Some(db) = Database::new("no_tls").await else { return };
    let url = format!("{}{}sslmode=require", db.url, if db.url.contains('?') { "&" } else { "?" });
    let error = refused(sink(&url, &[]).unwrap(), &[rows(vec![("n", array(Int64Array::from(vec![1])))])]).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error:?}");
    assert!(error.to_string().contains("server does not support TLS (switch ssl on"), "{error}");
}
