# shellcheck shell=bash
# Makes images out of folders, with no base image and no builder: one layer, the same bytes each time
# as long as the files are the same. Sourced.

# copy_programs ROOT DESTINATION PROGRAM...: copies programs of the file system at ROOT with the
# shared libraries they load, each to the same path below DESTINATION.
copy_programs() {
  local root=${1%/} destination=$2 file
  shift 2
  {
    printf '%s\n' "$@"
    # Libraries are named as "name => /path (address)" or, for the loader, "/path (address)".
    chroot "${root:-/}" ldd "$@" | grep -oE '/[^ :]+\.so[^ :]*'
  } | sort -u | while read -r file; do
    mkdir -p "$destination$(dirname "$file")"
    cp --dereference "$root$file" "$destination$file"
  done
}

# import_image NAME ROOT [CHANGE...]: makes the folder an image; a CHANGE is a Dockerfile instruction.
import_image() {
  local name=$1 root=$2 changes=() change
  shift 2
  for change; do changes+=(--change "$change"); done
  tar --directory "$root" --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner . |
    docker import ${PLATFORM:+--platform "$PLATFORM"} "${changes[@]}" - "$name" > /dev/null
}
