//! What is wrong with a model is said with tree and node.

use std::fs::File;
use std::path::Path;

use levada_transform_model::{LARGEST, load, parse};

use crate::formats::{Flat, Shape, flats, lightgbm, onnx_of};
use crate::spark_format::save;

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

/// A tree of three nodes, damaged in each way that a file of lists can be, and what is said about it.
fn damages() -> [(Vec<Vec<Flat>>, &'static str); 4] {
    let leaf = |value| Box::new(Shape::Leaf(value));
    let tree = Shape::Split { feature: 0, at: 0.5, nan_left: false, left: leaf(1.0), right: leaf(2.0) };
    let damaged = |change: &dyn Fn(&mut Flat)| {
        let mut flats = flats(&[tree.clone(), tree.clone()]);
        change(&mut flats[1][0]);
        flats
    };
    [
        (damaged(&|node| node.children = Some((0, 2))), "tree 1, node 0: two ways lead to it"),
        (damaged(&|node| node.children = Some((1, 1))), "tree 1, node 1: two ways lead to it"),
        (damaged(&|node| node.children = Some((1, 8))), "tree 1, node 8: there is no such node, the tree has 3"),
        (damaged(&|node| node.feature = 9), "tree 1, node 0: it asks for feature 9, the model has 4"),
    ]
}

/// What loading the model at `path` says, which must begin with the file.
fn refusal(path: &Path) -> String {
    let text = load(path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("model '{}': ", path.display())), "{text}");
    text
}

#[test]
fn onnx_files_and_sparks_folders_name_file_tree_and_node() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (flats, says)) in damages().into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.onnx"));
        std::fs::write(&path, onnx_of(&flats, 4, "BRANCH_LEQ")).unwrap();
        assert!(refusal(&path).contains(says), "{} does not say {says}", refusal(&path));
        let path = folder.path().join(format!("{number}"));
        save(&path, &flats, "RandomForestRegressionModel");
        assert!(refusal(&path).contains(says), "{} does not say {says}", refusal(&path));
    }
}

#[test]
fn lightgbm_names_file_tree_and_node() {
    let folder = tempfile::tempdir().unwrap();
    let leaf = |value| Box::new(Shape::Leaf(value));
    let tree = Shape::Split { feature: 0, at: 0.5, nan_left: false, left: leaf(1.0), right: leaf(2.0) };
    let text = lightgbm(&[tree.clone(), tree], 2, 0);
    let second = text.rfind("Tree=1").unwrap();
    let damages = [
        ("left_child=-1", "left_child=0", "tree 1, node 0: two ways lead to it"),
        ("left_child=-1", "left_child=-9", "tree 1, node 9: there is no such node, the tree has 3"),
        ("split_feature=0", "split_feature=7", "tree 1, node 0: it asks for feature 7, the model has 2"),
        ("threshold=", "threshold=x", "tree 1: threshold: 'x5e-1' is no number"),
        ("leaf_value=", "leaf_value=3 ", "tree 1: it has 3 leaf_value for 2 leaves"),
        ("decision_type=0", "decision_type=1", "tree 1, node 0: its categories are not there"),
    ];
    for (from, to, says) in damages {
        let path = folder.path().join("model.txt");
        std::fs::write(&path, format!("{}{}", &text[..second], text[second..].replacen(from, to, 1))).unwrap();
        assert!(refusal(&path).contains(says), "{} does not say {says}", refusal(&path));
    }
}

#[test]
fn what_is_too_large_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.json");
    // A hole in the file: it takes no room.
    File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let text = refusal(&path);
    assert!(text.contains(&format!("the file has 1073741824 bytes, a model may have {LARGEST}")), "{text}");
    let metadata = folder.path().join("spark/metadata");
    std::fs::create_dir_all(&metadata).unwrap();
    File::create(metadata.join("part-0")).unwrap().set_len(1 << 30).unwrap();
    assert!(
        refusal(&folder.path().join("spark")).contains("a model may have"),
        "{}",
        refusal(&folder.path().join("spark"))
    );
    // A few bytes that promise much.
    let wide = xgboost("[-1,-1,-1]", "[-1,-1,-1]", "[0,0,0]");
    let features = wide.replace("\"num_feature\":\"2\"", "\"num_feature\":\"999999999\"");
    assert_eq!(error(&features), "the model has 999999999 features, 1048576 are the most");
    let classes = wide
        .replace("\"num_class\":\"0\"", "\"num_class\":\"999999999\"")
        .replace("reg:squarederror", "multi:softprob");
    assert_eq!(error(&classes), "the model has 999999999 targets, 1048576 are the most");
    let mut flats = flats(&[Shape::Leaf(1.0)]);
    flats[0][0] = Flat { children: Some((1 << 40, (1 << 40) + 1)), ..flats[0][0] };
    let text = parse(&onnx_of(&flats, 4, "BRANCH_LEQ")).unwrap_err().to_string();
    assert!(text.contains("tree 0, node 1099511627776: there is no such node"), "{text}");
}

#[test]
fn a_lists_length_must_fit() {
    let text = xgboost("[1,-1,-1]", "[2,-1,-1]", "[0,0]");
    assert_eq!(error(&text), "tree 0: the lists of the nodes differ in length");
    let text = xgboost("[1,-1,-1]", "[2,-1,-1]", "[0,0,0]").replace("\"tree_info\":[0]", "\"tree_info\":[0,0]");
    assert_eq!(error(&text), "tree_info is of 2 trees, 1 are there");
    let text = xgboost("[1,-1,-1]", "[2,-1,-1]", "[0,0,0]")
        .replace("\"split_conditions\":[0,1,2]", "\"split_conditions\":[0,\"a\",2]");
    assert_eq!(error(&text), "tree 0: 'split_conditions' is not there or is not what it should be");
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
