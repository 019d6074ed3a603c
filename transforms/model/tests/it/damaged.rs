//! What is wrong with a model is said with tree and node.

use std::path::Path;

use levada_transform_model::{load, parse};

fn xgboost(left: &str, right: &str, index: &str) -> String {
    format!(
        "{{\"learner\":{{\"learner_model_param\":{{\"base_score\":\"5E-1\",\"num_class\":\"0\",\"num_feature\":\"2\"}},\
         \"objective\":{{\"name\":\"reg:squarederror\"}},\"gradient_booster\":{{\"name\":\"gbtree\",\"model\":\
         {{\"tree_info\":[0],\"trees\":[{{\"left_children\":{left},\"right_children\":{right},\
         \"split_conditions\":[0,1,2],\"split_indices\":{index},\"default_left\":[0,0,0]}}]}}}}}}}}"
    )
}

fn error(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_cycle_names_tree_and_node() {
    let text = error(&xgboost("[1,0,-1]", "[2,2,-1]", "[0,0,0]"));
    assert_eq!(text, "tree 0, node 0: two ways lead to it: the nodes form a cycle or share a child");
}

#[test]
fn a_child_out_of_range_names_tree_and_node() {
    let text = error(&xgboost("[1,-1,-1]", "[7,-1,-1]", "[0,0,0]"));
    assert_eq!(text, "tree 0, node 7: there is no such node, the tree has 3");
}

#[test]
fn a_feature_out_of_range_names_tree_and_node() {
    let text = error(&xgboost("[1,-1,-1]", "[2,-1,-1]", "[2,0,0]"));
    assert_eq!(text, "tree 0, node 0: it asks for feature 2, the model has 2");
}

#[test]
fn an_unknown_objective_is_named() {
    let text = xgboost("[1,-1,-1]", "[2,-1,-1]", "[0,0,0]").replace("reg:squarederror", "my:own");
    assert_eq!(error(&text), "the objective 'my:own' is not known");
}

#[test]
fn truncated_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], says: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let text = load(&path).unwrap_err().to_string();
        assert!(text.starts_with(&format!("model '{}': ", path.display())), "{text}");
        assert!(text.contains(says), "{text}");
    };
    check("empty", b"", "the file is empty");
    check("picture.png", b"\x89PNG\r\n", "no model of Spark ML, ONNX, XGBoost or LightGBM");
    check("cut.json", &xgboost("[1,-1,-1]", "[2,-1,-1]", "[0,0,0]").as_bytes()[..100], "no whole JSON document");
    check("other.json", b"{\"a\": 1}", "this is no XGBoost model");
    check("cut.txt", b"tree\nversion=v4\nmax_feature_idx=1\nnum_tree_per_iteration=1\n", "the file is truncated");
    check("cut.onnx", &[8, 9, 58, 100, 1], "the protobuf is damaged or truncated");
    check("cut.ubj", b"{L\0\0\0\0\0\0\0\x07lear", "the document ends early");
    let absent = load(&folder.path().join("absent")).unwrap_err().to_string();
    assert!(absent.contains("absent"), "{absent}");
    let text = load(folder.path()).unwrap_err().to_string();
    assert!(text.contains("no model of Spark ML"), "{text}");
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    assert!(parse("{\"a\":".repeat(100_000).as_bytes()).is_err());
    assert!(parse(&b"{L\0\0\0\0\0\0\0\x01a".repeat(100_000)).is_err());
}

#[test]
fn sparks_folders_are_checked_too() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/model");
    let folder = tempfile::tempdir().unwrap();
    copy(&model, folder.path());
    assert!(load(folder.path()).is_ok());
    let stages = folder.path().join("stages");
    let mut tree = std::fs::read_dir(&stages).unwrap().map(|entry| entry.unwrap().path());
    let tree = tree.find(|path| path.to_string_lossy().contains("DecisionTree")).unwrap();
    for part in std::fs::read_dir(tree.join("data")).unwrap().map(|entry| entry.unwrap().path()) {
        if part.extension().is_some_and(|extension| extension == "parquet") {
            let bytes = std::fs::read(&part).unwrap();
            std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    let text = load(folder.path()).unwrap_err().to_string();
    assert!(text.contains("stage 2 (DecisionTreeClassifier_") && text.contains(".parquet"), "{text}");
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
