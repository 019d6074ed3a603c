//! What goes wrong in a plugin is an error of the host.

use levada_connector_api::config::RawConfig;
use levada_connector_api::{Batch, BindContext, ErrorKind, OutputMode, Result, Transform};

use super::shapes::Pass;
use super::{registry, rows};
use crate::guest::Exported;

fn made(fault: &str) -> Result<Box<dyn Transform>> {
    let registry = registry(Exported::transform(Pass));
    let plugin = registry.transform("Pass")?;
    let raw = RawConfig::from([("fault".to_owned(), fault.to_owned())]);
    let mut transform = plugin.create(&plugin.config_def().parse(&raw, "").unwrap())?;
    transform.bind(&rows(0, 0).schema(), &BindContext::new("t", OutputMode::Append))?;
    Ok(transform)
}

#[tokio::test]
async fn panics_are_errors_that_name_plugin_class_and_operation() {
    for (fault, op) in [("create", "create"), ("bind", "bind"), ("process", "process"), ("later", "process")] {
        let error = match made(fault) {
            Err(error) => error,
            Ok(mut transform) => {
                let error = transform.process(Batch::new(rows(0, 5))).await.unwrap_err();
                // What panicked is not used again.
                assert!(transform.process(Batch::new(rows(0, 5))).await.is_err());
                error
            }
        };
        assert_eq!(error.kind(), ErrorKind::Panic, "{error}");
        let text = error.to_string();
        for part in ["loopback 1", "'Pass'", op, "it panicked: panics"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}

#[tokio::test]
async fn a_panic_in_drop_goes_no_further() {
    drop(made("drop").unwrap());
    let mut next = made("none").unwrap();
    assert_eq!(next.process(Batch::new(rows(0, 5))).await.unwrap().batches.len(), 1);
}

#[tokio::test]
async fn an_operation_whose_future_is_dropped_is_cancelled() {
    let mut transform = made("never").unwrap();
    {
        let work = transform.process(Batch::new(rows(0, 5)));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), work).await;
        assert!(waited.is_err());
    }
    let error = transform.process(Batch::new(rows(0, 5))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
}

#[tokio::test]
async fn a_transform_may_wait_on_its_own_runtime() {
    let mut transform = made("sleep").unwrap();
    for _ in 0..10 {
        assert_eq!(transform.process(Batch::new(rows(0, 5))).await.unwrap().batches[0].num_rows(), 5);
    }
}
