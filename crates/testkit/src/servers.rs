//! Real servers from Debian's packages, with folders and ports of their own.

use crate::PATIENCE;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// Fails with what to install where a program is missing.
pub fn needs(program: &str, package: &str) {
    assert!(Path::new(program).exists(), "{program} is missing: run `apt-get install {package}`, or `make test-tools`");
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server in the foreground that ends with the test.
struct Process {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Process {
    fn start(files: &[(&str, &[u8])], command: impl Fn(&Path, SocketAddr) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Workers that give up root must be able to read what they serve.
        open_to_all(folder.path());
        for (name, content) in files {
            let path = folder.path().join("www").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = std::fs::File::create(path).unwrap();
            file.write_all(content).unwrap();
            // Of a file that changed this very second Apache says that its tag is weak.
            file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("www")).unwrap();
        // Somebody else may take the port between our look and the server's: then another one.
        for _ in 0..5 {
            let address = free_port();
            let mut child = command(folder.path(), address).stdin(Stdio::null()).spawn().unwrap();
            let deadline = std::time::Instant::now() + PATIENCE;
            while std::time::Instant::now() < deadline {
                if TcpStream::connect(address).is_ok() && child.try_wait().unwrap().is_none() {
                    return Self { child, address, folder };
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!(
            "the server did not start: {}",
            std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default()
        );
    }
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Drop for Process {
    fn drop(&mut self) {
        // The masters end their workers when they are asked to, not when they are killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let mut ended = false;
        let deadline = std::time::Instant::now() + PATIENCE;
        while !ended && std::time::Instant::now() < deadline {
            ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Apache, serving files.
pub struct Apache(Process);

impl Apache {
    /// Starts it. `extra` is configuration, `files` its document root.
    pub fn start(extra: &str, files: &[(&str, &[u8])]) -> Self {
        needs("/usr/sbin/apache2", "apache2");
        let extra = extra.to_string();
        Self(Process::start(files, move |folder, address| {
            let root = folder.display();
            let config = format!(
                "ServerRoot {root}\nPidFile {root}/pid\nServerName localhost\nListen {address}\nErrorLog {root}/error.log\n\
                 LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
                 LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
                 LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so\n\
                 LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so\n\
                 LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so\n\
                 LoadModule deflate_module /usr/lib/apache2/modules/mod_deflate.so\n\
                 LoadModule filter_module /usr/lib/apache2/modules/mod_filter.so\n\
                 TypesConfig /etc/mime.types\nDocumentRoot {root}/www\nMutex file:{root} default\n\
                 <Directory {root}/www>\nRequire all granted\n</Directory>\n{extra}\n"
            );
            std::fs::write(folder.join("apache.conf"), config).unwrap();
            let mut command = Command::new("/usr/sbin/apache2");
            command.arg("-DFOREGROUND").arg("-f").arg(folder.join("apache.conf"));
            command
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its document root.
    pub fn root(&self) -> std::path::PathBuf {
        self.0.folder.path().join("www")
    }
}

/// nginx, serving files.
pub struct Nginx(Process);

impl Nginx {
    /// Starts it. `extra` stands in its server block, `files` is its document root.
    pub fn start(extra: &str, files: &[(&str, &[u8])]) -> Self {
        Self::start_with("", extra, files)
    }

    /// As [`Nginx::start`], with more in its http block, before the server.
    pub fn start_with(http: &str, extra: &str, files: &[(&str, &[u8])]) -> Self {
        needs("/usr/sbin/nginx", "nginx-light");
        let (http, extra) = (http.to_string(), extra.to_string());
        Self(Process::start(files, move |folder, address| {
            let root = folder.display();
            std::fs::create_dir_all(folder.join("tmp")).unwrap();
            let config = format!(
                "daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ include /etc/nginx/mime.types; access_log off;\n\
                 client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;\n\
                 uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp; {http}\n\
                 server {{ listen {address}; root {root}/www; {extra} }} }}\n"
            );
            std::fs::write(folder.join("nginx.conf"), config).unwrap();
            let mut command = Command::new("/usr/sbin/nginx");
            command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).stderr(Stdio::null());
            command
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// HAProxy, as a load balancer.
pub struct Haproxy(Process);

impl Haproxy {
    /// Starts it with what a `listen` section needs to reach its servers.
    pub fn start(server: &str) -> Self {
        needs("/usr/sbin/haproxy", "haproxy");
        Self(Process::start(&[], |folder, address| {
            let config = format!(
                "defaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
                 listen all\n  bind {address}\n  {server}\n"
            );
            std::fs::write(folder.join("haproxy.cfg"), config).unwrap();
            let mut command = Command::new("/usr/sbin/haproxy");
            command.args(["-db", "-q", "-f"]).arg(folder.join("haproxy.cfg"));
            command
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}
