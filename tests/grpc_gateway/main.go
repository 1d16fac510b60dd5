// The real gRPC gateway in front of a gRPC backend: the peer that leasehold's JSON
// paths are compared with. tests/run generates the packages under gen/ and builds it.
//
//	grpc_gateway --backend 127.0.0.1:PORT --api echo|leasehold [options]
//
// One line on stdout says where it listens. It ends on SIGTERM, and when its standard
// input closes, so that a test that died leaves nothing behind.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	// Any holds these in the details of an error; the gateway has to know them to write them.
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	leaseholdv1 "leasehold.test/grpc_gateway/gen/leasehold/v1"
	registryv1 "leasehold.test/grpc_gateway/gen/registry/v1"
)

var (
	backend        = flag.String("backend", "", "host:port of the gRPC server, in plain text")
	listen         = flag.String("listen", "127.0.0.1:0", "where to serve HTTP")
	api            = flag.String("api", "", "echo: registry.v1 of the recorded vectors and of kinds.proto; leasehold: leasehold.v1")
	jsonNames      = flag.Bool("json-names", false, "write lowerCamelCase field names")
	omitUnset      = flag.Bool("omit-unpopulated", false, "leave out fields that are not set")
	rejectsUnknown = flag.Bool("reject-unknown", false, "refuse fields and enum names that the message does not have")
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("grpc_gateway: ")
	flag.Parse()
	if *backend == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	conn, err := grpc.NewClient(*backend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	mux, err := gateway(ctx, conn)
	if err != nil {
		return err
	}
	socket, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", socket.Addr())

	ended := make(chan error, 2)
	go func() { ended <- http.Serve(socket, mux) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

func gateway(ctx context.Context, conn *grpc.ClientConn) (*runtime.ServeMux, error) {
	options := []runtime.ServeMuxOption{
		runtime.WithMarshalerOption(runtime.MIMEWildcard, marshaler()),
		runtime.WithForwardResponseOption(answerWithCode),
		runtime.WithHealthzEndpoint(grpc_health_v1.NewHealthClient(conn)),
	}
	var register func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error
	switch *api {
	case "echo":
		register = registerEcho
	case "leasehold":
		register = leaseholdv1.RegisterRegistryHandler
		options = append(options, runtime.WithIncomingHeaderMatcher(passed))
	default:
		return nil, fmt.Errorf("--api %q: echo and leasehold are known", *api)
	}
	mux := runtime.NewServeMux(options...)
	return mux, register(ctx, mux, conn)
}

// registerEcho registers both services of registry.v1, in the order in which the echo's own
// door has them: of two rules that fit, the one that was registered later is taken.
func registerEcho(ctx context.Context, mux *runtime.ServeMux, conn *grpc.ClientConn) error {
	if err := registryv1.RegisterRegistryHandler(ctx, mux, conn); err != nil {
		return err
	}
	return registryv1.RegisterKindsHandler(ctx, mux, conn)
}

func marshaler() runtime.Marshaler {
	return &runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: !*jsonNames, EmitUnpopulated: !*omitUnset},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: !*rejectsUnknown},
	}}
}

// passed lets through, next to what the gateway always does, the headers that
// leasehold's clients send.
func passed(header string) (string, bool) {
	switch http.CanonicalHeaderKey(header) {
	case "X-Service-Key", "X-Request-Id", "Traceparent":
		return header, true
	}
	return runtime.DefaultHeaderMatcher(header)
}

// answerWithCode is the option that the gateway's manual advises: a server sets the
// HTTP status of a success with the header metadata x-http-code.
func answerWithCode(ctx context.Context, w http.ResponseWriter, _ proto.Message) error {
	const key = "x-http-code"
	metadata, _ := runtime.ServerMetadataFromContext(ctx)
	wished := metadata.HeaderMD.Get(key)
	if len(wished) == 0 {
		return nil
	}
	code, err := strconv.Atoi(wished[0])
	if err != nil {
		return err
	}
	metadata.HeaderMD.Delete(key)
	w.Header().Del(runtime.MetadataHeaderPrefix + key)
	w.WriteHeader(code)
	return nil
}
