// local-path-helper makes and removes directories of local-path-provisioner's volumes, in a pod on their node.
//
// It is what the provisioner's configuration names as setupCommand and teardownCommand, in the place of scripts, so that
// its image needs no shell. The provisioner calls it with -p PATH -s BYTES -m MODE -a create|delete
// (https://github.com/rancher/local-path-provisioner/blob/v0.0.30/README.md#customize-the-volume-directory-path).
//
// Whatever a StorageClass or a volume says, it touches nothing but directories directly in LOCAL_PATH_DIRECTORY: who may
// write these must not be root on nodes by that (CVE-2025-62878).
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// Pods of any user get it; what is above it is for root only.
const mode = 0o777

// VERSION is the component's, set by the linker: by the name that the provisioner has for its own.
var VERSION = "unknown"

func main() {
	if err := run(os.Args[1:], os.Getenv("LOCAL_PATH_DIRECTORY")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string, above string) error {
	flags := flag.NewFlagSet("local-path-helper", flag.ContinueOnError)
	path := flags.String("p", "", "directory of the volume")
	action := flags.String("a", "", "create or delete")
	flags.String("s", "", "bytes that were asked for; directories have no size")
	flags.String("m", "", "mode of the volume: only file systems are made")
	said := flags.Bool("version", false, "print the version")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *said {
		fmt.Println("local-path-helper version", VERSION)
		return nil
	}
	plain := filepath.Clean(*path)
	if !filepath.IsAbs(above) || plain != *path || plain == "/" || filepath.Dir(plain) != filepath.Clean(above) {
		return fmt.Errorf("%q is not directly in %q, the directory of volumes", *path, above)
	}
	switch *action {
	case "create":
		return create(*path)
	case "delete":
		// A link is removed, and what it leads to is left.
		return os.RemoveAll(*path)
	}
	return fmt.Errorf("%q is neither create nor delete", *action)
}

// create makes a directory, or takes one that an interrupted call has made.
func create(path string) error {
	if err := os.Mkdir(path, mode); err != nil && !os.IsExist(err) {
		return err
	}
	found, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !found.IsDir() {
		return fmt.Errorf("%s is there, and is no directory", path)
	}
	// What the umask took away.
	return os.Chmod(path, mode)
}
