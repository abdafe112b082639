// Command controlplane is the real Kubernetes control plane, and the etcd under it, in one
// binary that acts by the name it is called by: kube-apiserver, kube-controller-manager or
// etcd, each with its own upstream flags.
//
// The tests run the same scenarios against it as against the sandbox. It is built here
// because no package registry has these binaries; and it is one binary because the three
// share most of their code, which so is linked only once.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "etcd":
		etcdmain.Main(os.Args)
	default:
		fmt.Fprintf(os.Stderr, "%s: call me kube-apiserver, kube-controller-manager or etcd\n", name)
		os.Exit(2)
	}
}
