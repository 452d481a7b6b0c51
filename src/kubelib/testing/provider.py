"""The definition of a provider of nodes: inherit `ProviderSuite`, give a fixture `provider`, and every test must pass."""

import anyio
import pytest

from kubelib.sched.elastic.base import NodeProvider, NodeTemplate, ProviderError


class ProviderSuite:
    """For providers whose templates all may have two nodes at least, of which none are there in the beginning.

    Time is that of the event loop: a slow provider sets `patience`, in seconds, to what it may need for a change.
    """

    patience = 60.0
    names = ("suite-1", "suite-2")

    @pytest.fixture
    async def template(self, provider: NodeProvider) -> NodeTemplate:
        """One of the provider's templates."""
        templates = await provider.templates()
        assert len({template.name for template in templates}) == len(templates) > 0
        return templates[0]

    async def _listed(self, provider: NodeProvider) -> dict[str, str]:
        found = await provider.nodes()
        listed = {node.name: node.template for node in found}
        assert len(listed) == len(found), "a node is listed twice"
        return listed

    async def _until_gone(self, provider: NodeProvider, name: str) -> None:
        with anyio.fail_after(self.patience):
            while name in await self._listed(provider):
                await anyio.sleep(0.05)

    async def test_what_was_asked_for_is_listed_at_once(
        self, provider: NodeProvider, template: NodeTemplate
    ) -> None:
        """Whoever plans on the list must not ask for the same again."""
        given = await provider.add(template.name, self.names)
        assert sorted(given) == sorted(self.names)
        assert await self._listed(provider) == dict.fromkeys(self.names, template.name)

    async def test_asking_again_makes_nothing_more(
        self, provider: NodeProvider, template: NodeTemplate
    ) -> None:
        """The first answer may have been lost."""
        await provider.add(template.name, self.names[:1])
        assert list(await provider.add(template.name, self.names[:1])) == list(self.names[:1])
        assert sorted(await provider.add(template.name, self.names)) == sorted(self.names)
        assert len(await self._listed(provider)) == 2

    async def test_a_node_is_taken_back(self, provider: NodeProvider, template: NodeTemplate) -> None:
        """Twice is no error."""
        await provider.add(template.name, self.names)
        await provider.remove(self.names[0])
        await self._until_gone(provider, self.names[0])
        await provider.remove(self.names[0])
        assert await self._listed(provider) == {self.names[1]: template.name}

    async def test_a_node_comes_again_under_the_same_name(
        self, provider: NodeProvider, template: NodeTemplate
    ) -> None:
        """A name is free once its node has gone."""
        await provider.add(template.name, self.names[:1])
        await provider.remove(self.names[0])
        await self._until_gone(provider, self.names[0])
        assert list(await provider.add(template.name, self.names[:1])) == list(self.names[:1])

    async def test_what_is_not_there_is_no_error_to_remove(self, provider: NodeProvider) -> None:
        """Somebody else may have taken it back."""
        await provider.remove("suite-never-was")

    async def test_an_unknown_template_is_refused(self, provider: NodeProvider) -> None:
        """In a sentence that names it."""
        with pytest.raises(ProviderError, match="suite-unknown"):
            await provider.add("suite-unknown", self.names)
        assert await self._listed(provider) == {}

    async def test_never_more_than_the_template_allows(
        self, provider: NodeProvider, template: NodeTemplate
    ) -> None:
        """What is beyond is not among the names that are returned."""
        names = [f"suite-{number}" for number in range(template.maximum + 1)]
        assert len(await provider.add(template.name, names)) == template.maximum
        assert len(await self._listed(provider)) == template.maximum
