package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

func (versionCmd) Run(std streams) error {
	info, _ := debug.ReadBuildInfo()
	fmt.Fprintf(std.out, "hub %s\n", version())
	if info != nil {
		settings := make(map[string]string)
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if revision := settings["vcs.revision"]; revision != "" {
			changed := ""
			if settings["vcs.modified"] == "true" {
				changed = ", with changes"
			}
			fmt.Fprintf(std.out, "commit %s of %s%s\n", revision, settings["vcs.time"], changed)
		}
	}
	fmt.Fprintf(std.out, "%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// version is the module's, as the go command noted it when it built this.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return cmp.Or(info.Main.Version, "unknown")
}
