"""The node agent: options of mounts, and volumes that are images, where the runtime has neither."""

from kubelib.api.core.container import VolumeMount
from kubelib.api.core.volumes import EmptyDirVolumeSource, ImageVolumeSource, Volume
from tests.runtime.conftest import SimNode, container


async def test_options_that_the_runtime_does_not_know_keep_a_container_from_being_made(node: SimNode) -> None:
    mount = VolumeMount(name="v", mount_path="/v", bind_mount_options=("noexec",))
    volume = Volume(name="v", empty_dir=EmptyDirVolumeSource())
    await node.run(containers=(container(volume_mounts=(mount,)),), volumes=(volume,))
    await node.until(lambda p: bool(p.status.container_statuses))
    waiting = (await node.status()).state.waiting
    assert waiting is not None and waiting.reason == "CreateContainerError"
    assert waiting.message == "can't set `bindMountOptions`, runtime does not support mount options"


async def test_a_volume_that_is_an_image_is_of_a_kind_that_most_nodes_do_not_have(node: SimNode) -> None:
    await node.run(volumes=(Volume(name="v", image=ImageVolumeSource(reference="files:1")),))
    await node.until(lambda p: bool(p.status.container_statuses))
    said = [event.message for event in await node.events("FailedMount")]
    assert said and said[0].endswith('volume "v" is of a kind that this node does not have')
