// The provisioner is the storage of the test cluster: it answers each claim of the class "standard"
// with a directory of the node, and removes the directory once the claim is gone.
// It polls instead of watching: a second's delay costs a test nothing, and no cache can be stale.

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	provisionerName = "dbx.dev/hostpath"
	// volumesDir is the same path in the node and, by a hostPath mount, in the provisioner's pod.
	volumesDir = "/var/local-volumes"

	// What the volume controller writes on a claim that waits for a provisioner, and reads on a volume.
	wantedProvisioner = "volume.kubernetes.io/storage-provisioner"
	selectedNode      = "volume.kubernetes.io/selected-node"
	provisionedBy     = "pv.kubernetes.io/provisioned-by"
)

func runProvisioner() int {
	config, err := rest.InClusterConfig()
	if err != nil {
		fmt.Fprintln(os.Stderr, "provisioner:", err)
		return 1
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "provisioner:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for {
		if err := provision(ctx, client); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "provision:", err)
		}
		if err := reclaim(ctx, client); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "reclaim:", err)
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(time.Second):
		}
	}
}

// provision makes a volume for every pending claim whose pod has been given a node.
func provision(ctx context.Context, client kubernetes.Interface) error {
	claims, err := client.CoreV1().PersistentVolumeClaims("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, claim := range claims.Items {
		node := claim.Annotations[selectedNode]
		if claim.Status.Phase != core.ClaimPending || claim.Annotations[wantedProvisioner] != provisionerName || node == "" {
			continue
		}
		volume := volumeFor(&claim, node)
		// Any user may write: hostPath ignores fsGroup, and pods here do not run as root. MkdirAll
		// alone would leave the mode to the umask.
		path := volume.Spec.HostPath.Path
		if err := os.MkdirAll(path, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o777); err != nil {
			return err
		}
		if _, err := client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{}); err != nil && !errors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func volumeFor(claim *core.PersistentVolumeClaim, node string) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              *claim.Spec.StorageClassName,
			PersistentVolumeSource:        core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: filepath.Join(volumesDir, name)}},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
}

// reclaim removes the volumes whose claims are gone, data first: a volume that is still listed is tried again.
func reclaim(ctx context.Context, client kubernetes.Interface) error {
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, volume := range volumes.Items {
		if volume.Annotations[provisionedBy] != provisionerName || volume.Status.Phase != core.VolumeReleased ||
			volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
			continue
		}
		if err := os.RemoveAll(filepath.Join(volumesDir, volume.Name)); err != nil {
			return err
		}
		if err := client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{}); err != nil && !errors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
