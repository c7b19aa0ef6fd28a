// Hub is the program of a hub, and of those who talk to one. Without a
// command it serves; hub --help lists the commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/revocast/revocast/events"
)

type program struct {
	Serve serveCmd `cmd:"" default:"withargs" help:"Run a hub. This is what hub does without a command."`

	Revoke  revokeCmd  `cmd:"" help:"Revoke a token, or all tokens of a subject, session, client, key or issuer."`
	Restore restoreCmd `cmd:"" help:"Take a revocation back."`
	List    listCmd    `cmd:"" help:"List live revocations, newest first."`
	Check   checkCmd   `cmd:"" help:"Ask whether a token is revoked, and by what."`
	Tail    tailCmd    `cmd:"" help:"Watch who revokes and restores what, as it happens."`
	Status  statusCmd  `cmd:"" help:"Show how the hub and its subscribers are."`
	Ready   readyCmd   `cmd:"" help:"Ask the hub on this machine whether it takes work."`
	Key     keyCmd     `cmd:"" help:"Make, list and delete API keys."`
	Config  configCmd  `cmd:"" help:"Check the configuration."`
	Version versionCmd `cmd:"" help:"Say which release this is."`
}

const description = `Makes revoked JWTs stop working everywhere, at once.

hub runs a hub, with its log under ./revocast-data. The other commands talk to
one: they need its address (--hub, REVOCAST_HUB) unless it is the default, and
a key (REVOCAST_KEY). The first start prints a key and what to try next.`

// streams are the standard ones.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func (s streams) note(format string, args ...any) {
	fmt.Fprintf(s.err, "hub: "+format+"\n", args...)
}

// usageError is a mistake in how the program was called or configured. It
// exits with 2, so that scripts tell it from a hub that said no.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSilent fails a command that has said already what it had to say.
var errSilent = errors.New("")

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run returns the exit code.
func run(args, environ []string, std streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from then on, a second signal ends the process at once

	where := newSettings(environ)
	parser := newParser(where, kong.Bind(std, where), kong.BindTo(ctx, (*context.Context)(nil)))
	line, err := parser.Parse(args)
	if err != nil {
		std.note("%s", redact(err.Error()))
		fmt.Fprintf(std.err, "Run \"hub%s --help\" for what there is.\n", commandOf(err, args))
		return 2
	}
	err = line.Run()
	switch usage := (usageError{}); {
	case err == nil:
		return 0
	case errors.Is(err, errSilent):
		return 1
	case errors.As(err, &usage):
		std.note("%s", redact(explain(err)))
		return 2
	}
	std.note("%s", redact(explain(err)))
	return 1
}

func newParser(where *settings, more ...kong.Option) *kong.Kong {
	parser, err := kong.New(&program{}, append(more,
		kong.Name("hub"), kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(helpOf),
		kong.ExplicitGroups([]kong.Group{{Key: "hub", Title: "Which hub, and how:"}}),
		kong.Vars{
			"kinds": joined(events.Kinds(), ","), "reasons": joined(events.Reasons(), ","),
			"reasonsText": joined(events.Reasons(), ", "),
		},
		kong.Resolvers(where),
	)...)
	if err != nil {
		panic(err) // a mistake in program, which every test would meet
	}
	return parser
}

// commandOf is the command that was being parsed, with a space before it; ""
// if none was named.
func commandOf(err error, args []string) string {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context == nil {
		return ""
	}
	n := parse.Context.Selected()
	if n == nil || n.Tag.Default != "" && !slices.Contains(args, n.Name) {
		return ""
	}
	return " " + n.Path()
}
