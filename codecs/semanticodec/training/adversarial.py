"""What the two GAN stages share: two players, and what the generator hears of its judges."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from semanticodec.training import losses
from semanticodec.training.discriminators import DiscriminatorConfig, Discriminators
from semanticodec.training.loop import Task


@dataclass(frozen=True)
class AdversarialOptions:
    """When the judges come in, and how much they count."""

    gan_from_step: int = -1  # -1: never
    adversarial_weight: float = 1.0
    feature_weight: float = 2.0
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


class AdversarialTask(Task):
    """A task whose ``generator`` makes waves that judges may compare with real ones."""

    generator: nn.Module

    def __init__(self, options: AdversarialOptions) -> None:
        super().__init__()
        self.options = options
        self.judges = Discriminators(options.discriminators) if options.gan_from_step >= 0 else None
        self._gan_is_on = False

    def phases(self, step: int) -> tuple[str, ...]:
        """Return one phase before the GAN begins, then two."""
        gan = self.judges is not None and step >= self.options.gan_from_step
        return ("judges", "main") if gan else ("main",)

    def phase_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters of the two players."""
        players = {"main": list(self.generator.parameters())}
        if self.judges is not None:
            players["judges"] = list(self.judges.parameters())
        return players

    def after_step(self, step: int) -> None:
        """Let the generator hear its judges once they had a step of their own."""
        self._gan_is_on = "judges" in self.phases(step)

    def judges_loss(self, wave: Tensor, made: Tensor) -> dict[str, Tensor]:
        """Return the loss of the judges on real and made waves ``[B, N]``."""
        assert self.judges is not None
        real, fake = self.judges(wave)[0], self.judges(made.detach())[0]
        return {"loss": losses.discriminator_loss(real, fake)}

    def with_judges(
        self, named: dict[str, Tensor], wave: Tensor, made: Tensor
    ) -> dict[str, Tensor]:
        """Return the generator's losses with what the judges say added, if they are on."""
        if self.judges is None or not self._gan_is_on:
            return named
        real, fake = self.judges(wave), self.judges(made)
        adversarial = losses.generator_loss(fake[0])
        features = losses.feature_loss(real[1], fake[1])
        total = (
            named["loss"]
            + self.options.adversarial_weight * adversarial
            + self.options.feature_weight * features
        )
        return named | {"loss": total, "adversarial": adversarial, "features": features}
