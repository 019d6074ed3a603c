//! A plugin of today under a host of yesterday, whose tables are smaller: what the host does not have is not touched, and
//! the rest works. A process of its own: a library knows the first host that it meets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#![allow(unsafe_code, reason = "the test is a host of its own")]

use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;

use levada_connector_api::Registry;
use levada_connector_api::config::RawConfig;
use levada_connector_api::testkit::source_conformance;
use levada_plugin::abi::{Class, ENTRY, Entry, Host, Library, Outcome, Str, op};
use levada_plugin::host::{ClassInfo, DirectClass, add_to, host_table};
use levada_services::libraries::example;
use libloading::os::unix::{RTLD_LOCAL, RTLD_NOW};

/// A table of which only the first bytes are there: behind them lies something that must stay as it is.
#[repr(C)]
struct Small<T> {
    table: MaybeUninit<T>,
    guard: [u8; 64],
}

impl<T> Small<T> {
    fn of(size: usize) -> Self {
        let mut small = Self { table: MaybeUninit::uninit(), guard: [0xA5; 64] };
        let bytes = small.table.as_mut_ptr().cast::<u8>();
        // SAFETY: as many bytes as the table has; the first four are its size.
        unsafe {
            bytes.write_bytes(0xA5, size_of::<T>());
            bytes.write_bytes(0, size);
            bytes.cast::<u32>().write(u32::try_from(size).unwrap());
        }
        small
    }

    /// Whether nothing behind the first `size` bytes was written.
    fn untouched_behind(&self, size: usize) -> bool {
        // SAFETY: every byte was written when it was made.
        let bytes = unsafe { std::slice::from_raw_parts(self.table.as_ptr().cast::<u8>(), size_of::<T>()) };
        bytes[size..].iter().chain(&self.guard).all(|byte| *byte == 0xA5)
    }
}

/// The class's answer to a query, into an outcome of `size` bytes: its code, and what else fits.
fn query(class: &Class, number: u32, size: usize) -> (i32, Option<String>) {
    let mut small = Small::<Outcome>::of(size);
    let args = Str { ptr: std::ptr::null(), len: 0 };
    // SAFETY: the class's function, and an outcome of the size that it says.
    let code = unsafe { class.query.unwrap()(class, number, args, small.table.as_mut_ptr()) };
    assert!(small.untouched_behind(size), "{size}");
    if size < offset_of!(Outcome, batches) {
        return (code, None);
    }
    // SAFETY: the payload is within the size, and was zeroed before.
    let payload = unsafe { &mut *std::ptr::addr_of_mut!((*small.table.as_mut_ptr()).payload) };
    // SAFETY: bytes that the class has given, until they are released.
    let text = unsafe { std::slice::from_raw_parts(payload.ptr, payload.len) };
    let text = String::from_utf8(text.to_vec()).unwrap();
    if let Some(release) = payload.release {
        // SAFETY: once, with its own owner.
        unsafe { release(payload.owner) };
    }
    (code, Some(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_works_with_what_a_smaller_host_has() {
    let path = example("hello-source");
    // SAFETY: the library is our own example.
    let library = unsafe { libloading::os::unix::Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.unwrap();
    // SAFETY: the symbol's name carries the version of its type.
    let entry: Entry = unsafe { *library.get::<Entry>(ENTRY.as_bytes()).unwrap() };
    // It is never unloaded.
    std::mem::forget(library);

    // A host that has nothing but its size and version: no log, no metrics, no clock.
    let host = Small::<Host>::of(8);
    // A place for the library's answer that ends before the classes, and one that is no table at all.
    for size in [4, 8, offset_of!(Library, classes)] {
        let mut out = Small::<Library>::of(size);
        // SAFETY: tables of the sizes that they say.
        let code = unsafe { entry(host.table.as_ptr(), out.table.as_mut_ptr()) };
        assert!(code == op::OK && out.untouched_behind(size), "{code}, {size}");
    }
    let mut out = Small::<Library>::of(0);
    // SAFETY: a table that says it has no bytes; its first four are there.
    assert_ne!(unsafe { entry(host.table.as_ptr(), out.table.as_mut_ptr()) }, op::OK);
    // SAFETY: null is no table.
    assert_ne!(unsafe { entry(std::ptr::null(), std::ptr::null_mut()) }, op::OK);

    let mut out = Small::<Library>::of(size_of::<Library>());
    // SAFETY: as above.
    assert_eq!(unsafe { entry(host.table.as_ptr(), out.table.as_mut_ptr()) }, op::OK);
    // SAFETY: all of the table was written.
    let table = unsafe { &*out.table.as_ptr() };
    assert_eq!(table.n_classes, 1);
    // SAFETY: a class of the library, which lives for ever.
    let own = unsafe { &**table.classes };

    for size in [8, offset_of!(Outcome, message), offset_of!(Outcome, batches), size_of::<Outcome>()] {
        let (code, text) = query(own, op::QUERY_DESCRIBE, size);
        assert_eq!(code, op::OK, "{size}");
        assert!(text.is_none_or(|text| text.contains("Who is greeted")));
    }
    assert_eq!(query(own, 4711, 8).0, op::UNSUPPORTED);

    // And the whole contract, without the host's functions.
    assert!(host_table().log.is_some());
    // SAFETY: a class of the library, which lives for ever.
    let class = Arc::new(unsafe { DirectClass::of(own, "hello of today") }.unwrap());
    let mut registry = Registry::new();
    add_to(&mut registry, ClassInfo::ask(&class).unwrap(), Box::new(class)).unwrap();
    let plugin = registry.source("Hello").unwrap();
    let config = plugin.config_def().parse(&RawConfig::new(), "").unwrap();
    source_conformance(&|| plugin.create(&config).unwrap(), plugin.capabilities(&config)).await;
}
