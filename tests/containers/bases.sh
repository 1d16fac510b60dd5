# Base images for tests/containers, as archives that `docker import` takes: no image registry is
# needed, and in the containers that are built on them no network either. They hold this machine's own
# Debian, Rust and Python, and the packages that the Dockerfiles install. tests/run reads this file.

# ensure_container_bases: debian.tar, rust.tar and python.tar in the folder $container_bases; `complete`
# is written last.
ensure_container_bases() {
  local suite python key
  suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  python=$(relocatable_python) || fail "no Python for an image of tests/containers could be had"
  key=$({
    rustc -vV
    "$python/bin/python3" -VV
    printf '%s\n' "$suite" "$(rustc --print sysroot)" "$python"
    sha256sum Cargo.lock examples/compose/requirements.txt tests/containers/bases.sh
  } | sha256sum)
  container_bases="$cache/container-bases-${key:0:16}"
  [ -e "$container_bases/complete" ] && return
  [ "$(id -u)" = 0 ] || fail "base images are made by debootstrap, which needs root: run the tests as root"
  say "making base images of Debian $suite, $(rustc --version) and $("$python/bin/python3" --version)"
  # A gigabyte: older ones go.
  rm -rf "$cache"/container-bases-*
  mkdir -p "$container_bases/debs"
  packages "$suite" && debian_base "$suite" && rust_base && crates && python_base "$python" &&
    rm -rf "$container_bases"/{root,debs,crates} || fail "the base images of tests/containers could not be made"
  touch "$container_bases/complete"
}

# packages SUITE: a minimal Debian, and what the Dockerfiles and a Rust need besides, in `debs`.
packages() {
  retry bootstrap "$1" --download-only --include=ca-certificates,curl,gcc,libc6-dev
}

# bootstrap SUITE ARGUMENTS...: a Debian in the folder `root`.
bootstrap() {
  local suite=$1
  shift
  rm -rf "$container_bases/root"
  debootstrap --variant=minbase --cache-dir="$container_bases/debs" "$@" \
    "$suite" "$container_bases/root" >"$container_bases/bootstrap.log" 2>&1 && return
  tail -n 20 "$container_bases/bootstrap.log" >&2
  return 1
}

# archive FOLDER NAME: what is in it, without what nobody reads in a container.
archive() {
  tar -C "$1" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' \
    --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*' \
    -cf "$container_bases/$2.tar" .
}

# The Debian of the Dockerfile's second stage: what it installs is at hand, as an apt source.
debian_base() {
  local shelf="$container_bases/root/srv/packages" deb
  retry bootstrap "$1" || return 1
  mkdir -p "$shelf"
  cp "$container_bases"/debs/*.deb "$shelf" || return 1
  for deb in "$shelf"/*.deb; do
    dpkg-deb --field "$deb" || return 1
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
      "$(basename "$deb")" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
  done >"$shelf/Packages"
  printf 'deb [trusted=yes] file:/srv/packages ./\n' >"$container_bases/root/etc/apt/sources.list"
  archive "$container_bases/root" debian && rm -r "$shelf"
}

# The Rust that runs the tests, and a C compiler: all packages unpacked over what there is.
rust_base() {
  local root="$container_bases/rust" sysroot target deb
  sysroot=$(rustc --print sysroot)
  target=$(rustc -vV | sed -n 's/^host: //p')
  cp -a "$container_bases/root" "$root" || return 1
  for deb in "$container_bases"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink || return 1
  done
  ln -sf gcc "$root/usr/bin/cc"
  mkdir -p "$root/usr/local/lib/rustlib"
  cp -a "$sysroot"/bin/{cargo,rustc} "$root/usr/local/bin" &&
    find "$sysroot/lib" -maxdepth 1 -name '*.so*' -exec cp -a -t "$root/usr/local/lib" {} + &&
    cp -a "$sysroot/lib/rustlib/$target" "$root/usr/local/lib/rustlib" && ldconfig -r "$root" &&
    archive "$root" rust && rm -r "$root"
}

# Python in /usr/local, the libraries that it is linked with, and the packages of the example.
python_base() {
  local root="$container_bases/root" library
  tar -C "$1" -c --exclude='__pycache__' --exclude='test' --exclude='idlelib' --exclude='*.a' \
    --exclude='site-packages/*' bin lib | tar -C "$root/usr/local" -x || return 1
  ln -sf python3 "$root/usr/local/bin/python"
  libraries "$1" | while read -r library; do
    [ -e "$root$library" ] || cp -L "$library" "$root/usr/local/lib/" || return 1
  done || return 1
  cp -a "$("$1/bin/python3" -c 'import os, pip; print(os.path.dirname(pip.__file__))')" \
    "$(echo "$root"/usr/local/lib/python3.*/site-packages)" && ldconfig -r "$root" || return 1
  mkdir -p "$root/srv/wheels"
  retry "$1/bin/python3" -m pip download --quiet --disable-pip-version-check \
    --dest "$root/srv/wheels" -r examples/compose/requirements.txt >&2 && archive "$root" python
}

# libraries FOLDER: those outside it that programs and libraries in it are linked with.
libraries() {
  find "$1/bin" "$1/lib" -name '*.so*' -o -name 'python3*' -type f |
    { xargs ldd 2>/dev/null || true; } | sed -n 's|.* => \(/[^ ]*\) .*|\1|p' | grep -v "^$1/" | sort -u
}

# What Cargo.lock names, as cargo keeps it, goes into the archive with Rust.
crates() {
  local home="$container_bases/crates/usr/local/cargo"
  mkdir -p "$home"
  retry env CARGO_HOME="$home" cargo fetch --quiet --locked --target "$(rustc -vV | sed -n 's/^host: //p')" &&
    rm -rf "$home/registry/src" &&
    tar -C "$container_bases/crates" --numeric-owner -rf "$container_bases/rust.tar" ./usr/local/cargo
}

# Prints the folder of a Python that runs wherever it is copied to: the one of the tests, unless its parts
# are all over /usr.
relocatable_python() {
  local prefix
  prefix=$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)') || return 1
  if [ "$prefix" = /usr ]; then
    standalone_python >&2 || return 1
    prefix=$(printf '%s\n' "$cache"/pythons/cpython-3.13* | head -n 1)
  fi
  printf '%s\n' "$prefix"
}
