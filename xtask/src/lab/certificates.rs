//! A CA and a certificate for each gateway, made with openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::netns::run;

/// Makes `ca.pem`, and `NAME.pem` and `NAME.key` for each name, in `folder`; the name is the subject's alternative.
pub fn make(folder: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(folder)?;
    openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=lab-ca -keyout ca.key -out ca.pem \
         -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
    )?;
    for name in names {
        openssl(
            folder,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ),
        )?;
        fs::write(folder.join(format!("{name}.ext")), format!("subjectAltName=DNS:{name}\n"))?;
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile {name}.ext -out {name}.pem"
            ),
        )?;
        fs::set_permissions(folder.join(format!("{name}.key")), fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder))?;
    Ok(())
}
