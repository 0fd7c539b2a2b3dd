//! The C side: one `sqlite3_vfs` whose every method calls SQLite's own layer and tells [`Handle`] what it did.
//!
//! Invariants every SAFETY argument below leans on:
//! 1. [`install`] makes one `sqlite3_vfs` by `Box::leak`: it and the layer behind it, which `pAppData` points to, live as long
//!    as the process. SQLite passes our methods no other one.
//! 2. SQLite gives each file `szOsFile` bytes of its own, aligned to 8, and calls no two methods on one file at once. They
//!    hold a [`File`] and, [`REAL_AT`] bytes on, the real layer's file, which only the real layer's methods touch.
//! 3. [`open`] writes the `File` before it gives it its methods; SQLite calls no method but after that, and [`close`] last.
//! 4. Names are C strings that live for the call; buffers are as long as the length beside them says (sqlite3.h, "OS
//!    interface object", "sqlite3_io_methods").
//!
//! No panic leaves a method: an unwinding one aborts the process.
#![allow(unsafe_code, reason = "the test VFS: SQLite's file interface is C")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi as sys;

use super::Handle;

/// A file as SQLite holds it.
#[repr(C)]
struct File {
    base: sys::sqlite3_file,
    /// From `Box::into_raw`; null for a file that nobody records.
    handle: *mut Handle,
}

/// Where the real layer's file begins.
const REAL_AT: usize = size_of::<File>().next_multiple_of(8);

/// Calls a method of the real layer's file.
macro_rules! real {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let file = real_of($file);
        // SAFETY: (2) and (3): `open` succeeded, so the real layer has given its file methods; the arguments are those
        // SQLite gave us for the same method.
        unsafe {
            match (*(*file).pMethods).$method {
                Some(method) => method(file $(, $argument)*),
                None => sys::SQLITE_IOERR,
            }
        }
    }};
}

/// Calls a method of the real layer.
macro_rules! real_vfs {
    ($vfs:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: (1): `pAppData` is the real layer; the arguments are those SQLite gave us for the same method.
        unsafe {
            let vfs = (*$vfs).pAppData.cast::<sys::sqlite3_vfs>();
            match (*vfs).$method {
                Some(method) => method(vfs $(, $argument)*),
                None => sys::SQLITE_ERROR,
            }
        }
    }};
}

/// Puts the layer in place, once a process, as SQLite's default. `Err` is SQLite's code.
pub(super) fn install() -> Result<(), i32> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    *DONE.get_or_init(|| {
        // SAFETY: a null name asks for the default layer; what comes back lives as long as the process.
        let real = unsafe { sys::sqlite3_vfs_find(ptr::null()) };
        if real.is_null() {
            return Err(sys::SQLITE_NOTFOUND);
        }
        // SAFETY: just found, and SQLite never changes it.
        let (file_bytes, path_bytes) = unsafe { ((*real).szOsFile, (*real).mxPathname) };
        let own = Box::leak(Box::new(sys::sqlite3_vfs {
            iVersion: 2,
            szOsFile: file_bytes + c_int::try_from(REAL_AT).unwrap_or(c_int::MAX - file_bytes),
            mxPathname: path_bytes,
            pNext: ptr::null_mut(),
            zName: c"fieldgate-crash".as_ptr(),
            pAppData: real.cast::<c_void>(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_ms),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: (1): it lives as long as the process, and nobody else refers to it.
        match unsafe { sys::sqlite3_vfs_register(own, 1) } {
            sys::SQLITE_OK => Ok(()),
            code => Err(code),
        }
    })
}

/// No memory mapping (version 2): every byte that is written must come by.
static METHODS: sys::sqlite3_io_methods = sys::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn real_of(file: *mut sys::sqlite3_file) -> *mut sys::sqlite3_file {
    file.cast::<u8>().wrapping_add(REAL_AT).cast::<sys::sqlite3_file>()
}

/// What is recorded of a file; `None` for one that nobody records.
///
/// # Safety
/// `file` is one that SQLite gave to the method that calls this, and the answer does not outlive that method.
unsafe fn handle_of<'a>(file: *mut sys::sqlite3_file) -> Option<&'a mut Handle> {
    // SAFETY: (2) and (3): it is a `File`, its handle is null or from a box that `close` has not freed yet, and no other
    // method of the same file runs.
    unsafe { (*file.cast::<File>()).handle.as_mut() }
}

/// # Safety
/// `name` is null or a C string, and the answer does not outlive the method it was given to.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: (4).
    Some(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

unsafe extern "C" fn open(
    vfs: *mut sys::sqlite3_vfs,
    name: *const c_char,
    file: *mut sys::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: (4).
    let path = unsafe { path_of(name) };
    let existed = path.is_some_and(Path::exists);
    let own = file.cast::<File>();
    let unopened = File { base: sys::sqlite3_file { pMethods: ptr::null() }, handle: ptr::null_mut() };
    // SAFETY: (2): the bytes are ours and hold nothing yet; without methods SQLite calls none.
    unsafe { own.write(unopened) };
    let real = real_of(file);
    // SAFETY: (2): room for the real layer's file; it is told apart from an opened one by its methods.
    unsafe { (*real).pMethods = ptr::null() };
    let code = real_vfs!(vfs, xOpen, name, real, flags, flags_out);
    // SAFETY: (2): still ours alone.
    let real_has_methods = unsafe { !(*real).pMethods.is_null() };
    if code != sys::SQLITE_OK || !real_has_methods {
        if real_has_methods {
            real!(file, xClose);
        }
        return if code == sys::SQLITE_OK { sys::SQLITE_CANTOPEN } else { code };
    }
    let handle = path.and_then(|path| Handle::opened(path, flags, existed));
    let handle = handle.map_or(ptr::null_mut(), |handle| Box::into_raw(Box::new(handle)));
    // SAFETY: (3): from here on it is a whole `File`.
    unsafe { own.write(File { base: sys::sqlite3_file { pMethods: &METHODS }, handle }) };
    sys::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sys::sqlite3_file) -> c_int {
    let code = real!(file, xClose);
    let own = file.cast::<File>();
    // SAFETY: (3): the last call on this file; its handle is null or from `Box::into_raw`, and freed here only.
    unsafe {
        let handle = std::mem::replace(&mut (*own).handle, ptr::null_mut());
        if !handle.is_null() {
            drop(Box::from_raw(handle));
        }
    }
    code
}

unsafe extern "C" fn read(
    file: *mut sys::sqlite3_file,
    buffer: *mut c_void,
    len: c_int,
    at: sys::sqlite3_int64,
) -> c_int {
    real!(file, xRead, buffer, len, at)
}

unsafe extern "C" fn write(
    file: *mut sys::sqlite3_file,
    buffer: *const c_void,
    len: c_int,
    at: sys::sqlite3_int64,
) -> c_int {
    // SAFETY: this method's own file.
    let Some(handle) = (unsafe { handle_of(file) }) else { return real!(file, xWrite, buffer, len, at) };
    let (Ok(count), Ok(offset)) = (usize::try_from(len), usize::try_from(at)) else {
        return sys::SQLITE_IOERR_WRITE;
    };
    // SAFETY: (4): `len` readable bytes that nobody changes during the call.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) };
    handle.write(offset, bytes, |part| {
        let len = c_int::try_from(part.len()).unwrap_or(len);
        real!(file, xWrite, part.as_ptr().cast::<c_void>(), len, at)
    })
}

unsafe extern "C" fn truncate(file: *mut sys::sqlite3_file, len: sys::sqlite3_int64) -> c_int {
    // SAFETY: this method's own file.
    match (unsafe { handle_of(file) }, usize::try_from(len)) {
        (Some(handle), Ok(bytes)) => handle.truncate(bytes, || real!(file, xTruncate, len)),
        _ => real!(file, xTruncate, len),
    }
}

unsafe extern "C" fn sync(file: *mut sys::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: this method's own file.
    match unsafe { handle_of(file) } {
        Some(handle) => handle.sync(|| real!(file, xSync, flags)),
        None => real!(file, xSync, flags),
    }
}

unsafe extern "C" fn file_size(file: *mut sys::sqlite3_file, out: *mut sys::sqlite3_int64) -> c_int {
    real!(file, xFileSize, out)
}

unsafe extern "C" fn lock(file: *mut sys::sqlite3_file, level: c_int) -> c_int {
    real!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut sys::sqlite3_file, level: c_int) -> c_int {
    real!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sys::sqlite3_file, out: *mut c_int) -> c_int {
    real!(file, xCheckReservedLock, out)
}

unsafe extern "C" fn file_control(file: *mut sys::sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    real!(file, xFileControl, what, argument)
}

unsafe extern "C" fn sector_size(file: *mut sys::sqlite3_file) -> c_int {
    real!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut sys::sqlite3_file) -> c_int {
    real!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut sys::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    real!(file, xShmMap, region, bytes, extend, out)
}

unsafe extern "C" fn shm_lock(
    file: *mut sys::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    real!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut sys::sqlite3_file) {
    let real = real_of(file);
    // SAFETY: (2) and (3), as in `real!`.
    unsafe {
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sys::sqlite3_file, delete: c_int) -> c_int {
    real!(file, xShmUnmap, delete)
}

unsafe extern "C" fn delete(vfs: *mut sys::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    let code = real_vfs!(vfs, xDelete, name, sync_folder);
    // SAFETY: (4).
    if let (sys::SQLITE_OK, Some(path)) = (code, unsafe { path_of(name) }) {
        super::deleted(path, sync_folder != 0);
    }
    code
}

unsafe extern "C" fn access(
    vfs: *mut sys::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    real_vfs!(vfs, xAccess, name, flags, out)
}

unsafe extern "C" fn full_pathname(
    vfs: *mut sys::sqlite3_vfs,
    name: *const c_char,
    len: c_int,
    out: *mut c_char,
) -> c_int {
    real_vfs!(vfs, xFullPathname, name, len, out)
}

unsafe extern "C" fn randomness(vfs: *mut sys::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    real_vfs!(vfs, xRandomness, len, out)
}

unsafe extern "C" fn sleep(vfs: *mut sys::sqlite3_vfs, microseconds: c_int) -> c_int {
    real_vfs!(vfs, xSleep, microseconds)
}

unsafe extern "C" fn current_time(vfs: *mut sys::sqlite3_vfs, out: *mut f64) -> c_int {
    real_vfs!(vfs, xCurrentTime, out)
}

unsafe extern "C" fn current_time_ms(vfs: *mut sys::sqlite3_vfs, out: *mut sys::sqlite3_int64) -> c_int {
    real_vfs!(vfs, xCurrentTimeInt64, out)
}

unsafe extern "C" fn last_error(vfs: *mut sys::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    real_vfs!(vfs, xGetLastError, len, out)
}
