package main

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	envPrefix = "REVOCAST_"
	// adminKeyEnv has no flag: the arguments of a process are visible to
	// everybody on the machine.
	adminKeyEnv = envPrefix + "ADMIN_KEY"
)

// settings finds the values of flags that are not on the command line: in the
// environment, then in the configuration file. A flag takes part if it has
// the tag setting, and may be in the file if the tag says so.
type settings struct {
	env   map[string]string // all that begins with envPrefix
	file  *configFile       // read when the first flag asks for it; empty if there is none
	found map[string]string // by flag: where its value comes from
}

func newSettings(environ []string) *settings {
	s := &settings{env: make(map[string]string), found: make(map[string]string)}
	for _, e := range environ {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, envPrefix) {
			s.env[name] = value
		}
	}
	return s
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func inEnv(v *kong.Value) bool  { return v.Tag.Has("setting") }
func inFile(v *kong.Value) bool { return v.Tag.Get("setting") == "file" }

// Resolve implements kong.Resolver.
func (s *settings) Resolve(line *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !inEnv(flag.Value) {
		return nil, nil
	}
	name := envName(flag.Name)
	text, from := s.env[name], name
	// Empty is unset: compose files and charts set all they know.
	if text == "" && inFile(flag.Value) {
		if err := s.readFile(line); err != nil {
			return nil, err
		}
		v := s.file.values[flag.Name]
		text, from = v.text, fmt.Sprintf("%s:%d", s.file.path, v.line)
	}
	if text == "" || s.overruled(line, flag) {
		return nil, nil
	}
	// Tried here, because the parser's own error would not say where the
	// value comes from.
	scratch := reflect.New(flag.Target.Type()).Elem()
	if err := flag.Parse(kong.Scan().PushTyped(text, kong.FlagValueToken), scratch); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	s.found[flag.Name] = from
	return text, nil
}

// overruled reports whether the command line has another flag of the same
// exclusive group: a key file that was asked for is not disputed by a key in
// the environment.
func (s *settings) overruled(line *kong.Context, flag *kong.Flag) bool {
	return slices.ContainsFunc(line.Path, func(p *kong.Path) bool {
		return p.Flag != nil && !p.Resolved && p.Flag != flag &&
			slices.ContainsFunc(p.Flag.Xor, func(x string) bool { return slices.Contains(flag.Xor, x) })
	})
}

// readFile reads the configuration file, if one is named.
func (s *settings) readFile(line *kong.Context) error {
	if s.file != nil {
		return nil
	}
	path := s.env[envName("config")]
	for _, p := range line.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			path = line.Value(p).String()
		}
	}
	s.file = &configFile{}
	if path == "" {
		return nil
	}
	var names []string
	for _, f := range line.Flags() {
		if inFile(f.Value) {
			names = append(names, f.Name)
		}
	}
	var err error
	s.file, err = readConfigFile(path, names)
	return err
}

// Validate implements kong.Resolver: it refuses names in the environment that
// mean nothing, which are misspelled more often than not.
func (s *settings) Validate(app *kong.Application) error {
	known := map[string]bool{adminKeyEnv: true}
	_ = kong.Visit(app, func(v kong.Visitable, next kong.Next) error {
		if f, ok := v.(*kong.Flag); ok && inEnv(f.Value) {
			known[envName(f.Name)] = true
		}
		return next(nil)
	})
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		if !known[name] && !serviceLink(name, s.env[name]) {
			return fmt.Errorf("%s is set in the environment and means nothing; the names are %s",
				name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	if v, ok := s.env[adminKeyEnv]; ok && v == "" {
		return fmt.Errorf("%s is set but empty: give it the key, or unset it", adminKeyEnv)
	}
	return nil
}

var (
	linkName = regexp.MustCompile(`^REVOCAST(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	linkPort = regexp.MustCompile(`^REVOCAST(_[A-Z0-9_]+)?_PORT$`)
)

// serviceLink reports whether a variable is one that Kubernetes sets in every
// container near a Service called revocast or revocast-something. Refusing
// those would stop the hub in the very place that is named after it.
func serviceLink(name, value string) bool {
	return linkName.MatchString(name) || linkPort.MatchString(name) && strings.Contains(value, "://")
}

// origin says where the value of a flag comes from.
func (s *settings) origin(line *kong.Context, flag *kong.Flag) string {
	if from := s.found[flag.Name]; from != "" {
		return from
	}
	for _, p := range line.Path {
		if p.Flag == flag {
			return "--" + flag.Name
		}
	}
	return "default"
}

// helpOf is a flag's help, with the name that it has in the environment.
func helpOf(v *kong.Value) string {
	if v.Flag == nil || !inEnv(v) {
		return v.Help
	}
	return v.Help + " ($" + envName(v.Name) + ")"
}
