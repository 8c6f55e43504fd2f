"""Policies learned by playing: PPO and SAC of Stable-Baselines3, a round at a time.

Every round begins with fresh episodes whose seeds come from the run's seed and the round's number,
so that what is between two rounds is in the weights, the optimisers, the running moments of
observations and rewards and, for SAC, the replay buffer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import Field
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.utils import FloatSchedule, set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from training.errors import BadConfig, DataError
from training.parts.actor import Actor, Normalise, Within, by_network
from training.parts.environment import SELECTION_SEEDS, TRAINING_SEEDS, Environment, play
from training.recipe import Networks, RoundsConfig

ACTOR = "actor"


class PolicyConfig(RoundsConfig):
    """Settings of any policy."""

    environment: str = Field(description="gymnasium's id, or module:id to import it first")
    round_steps: int = Field(ge=1, description="steps of the environment a round")
    worlds: int = Field(default=1, ge=1, description="environments that are played side by side")
    batch_size: int = Field(default=64, ge=2, description="steps of the environment a gradient")
    learning_rate: float = Field(gt=0, description="Adam's in the first round; it falls to nothing")
    discount: float = Field(default=0.99, gt=0, lt=1, description="what a step's delay leaves")
    hidden: int = Field(default=64, ge=1, description="units of each of two layers")
    selection_episodes: int = Field(
        default=20, ge=1, description="episodes after each round; the best round is published"
    )
    test_episodes: int = Field(default=100, ge=1, description="episodes that give the score")


class PpoConfig(PolicyConfig):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

    rollout: int = Field(default=256, ge=2, description="steps of each world an update")
    passes: int = Field(default=10, ge=1, description="passes over what was played, an update")
    trace: float = Field(default=0.95, ge=0, le=1, description="lambda of the advantage's average")
    entropy: float = Field(default=0.0, ge=0, description="reward of an undecided policy")


class SacConfig(PolicyConfig):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905)."""

    warm_up: int = Field(default=500, ge=0, description="steps at random before it learns")


class Returns(NamedTuple):
    """Of the selection episodes after so many steps of training."""

    steps: int
    mean: float
    low: float
    high: float


P = TypeVar("P", bound=PolicyConfig)


class PolicyLearner(ABC, Generic[P]):
    """A :class:`training.recipe.Learner` over Stable-Baselines3."""

    normalises_reward: bool

    def __init__(self, environment: Environment, config: P, fold: int) -> None:
        self.environment, self.config, self.fold = environment, config, fold
        self.curve: list[Returns] = []
        makers: list[Callable[[], Any]] = [environment.make] * config.worlds
        self.worlds = VecNormalize(
            DummyVecEnv(makers), norm_reward=self.normalises_reward, gamma=config.discount
        )
        self.model = self._model()

    @abstractmethod
    def _model(self) -> Any: ...

    @abstractmethod
    def _layers(self) -> list[nn.Module]:
        """The policy's own, and the one that makes an action of theirs."""

    def _last(self, *, squash: bool) -> nn.Module:
        bounds = self.environment.answer.bounds
        return nn.Softmax(1) if bounds is None else Within(bounds, squash=squash)

    # --- a round -------------------------------------------------------------------------------

    def learn(self, number: int) -> float:
        config = self.config
        drawn = np.random.SeedSequence([config.seed, self.fold, number]).generate_state(1)[0]
        seed = int(drawn) % (TRAINING_SEEDS - config.worlds)
        set_random_seed(seed)
        self.worlds.seed(seed)
        self.model.action_space.seed(seed)
        self.model._last_obs = None  # or it would go on where the last round's episodes stood
        self.model.lr_schedule = FloatSchedule(config.learning_rate * (1 - number / config.rounds))
        try:
            self.model.learn(config.round_steps, reset_num_timesteps=False)
        except (ValueError, RuntimeError):  # torch's distributions check, or their sampling does
            if all(np.isfinite(moments.var).all() for moments in self._moments()):
                raise
            raise DataError(
                f"{config.environment}: expected finite observations and rewards; got others"
            ) from None
        return -self._judge()

    def _judge(self) -> float:
        seeds = range(SELECTION_SEEDS, SELECTION_SEEDS + self.config.selection_episodes)
        act = by_network(self.environment, self.networks()[ACTOR])
        returns = play(self.environment, act, seeds)
        low, high = np.quantile(returns, [0.1, 0.9]).tolist()
        self.curve.append(Returns(self.model.num_timesteps, float(returns.mean()), low, high))
        return self.curve[-1].mean

    def networks(self) -> Networks:
        seen, _ = self._moments()
        spread = np.sqrt(seen.var + self.worlds.epsilon)
        normalise = Normalise(seen.mean, spread, self.worlds.clip_obs)
        return {ACTOR: Actor(normalise, self._layers()).eval()}

    # --- between rounds ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.model.num_timesteps,
            "parameters": self.model.get_parameters(),
            "moments": [dict(vars(moments)) for moments in self._moments()],
            "curve": [tuple(point) for point in self.curve],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.num_timesteps = state["steps"]
        self.model.set_parameters(state["parameters"], device="cpu")
        for moments, saved in zip(self._moments(), state["moments"], strict=True):
            vars(moments).update(saved)
        self.curve = [Returns(*point) for point in state["curve"]]

    def _moments(self) -> tuple[Any, Any]:
        return self.worlds.obs_rms, self.worlds.ret_rms


class Ppo(PolicyLearner[PpoConfig]):
    """For choices and vectors; plays in many worlds and learns from what it just played."""

    normalises_reward = True

    def _model(self) -> PPO:
        config = self.config
        return PPO(
            "MlpPolicy",
            self.worlds,
            learning_rate=config.learning_rate,
            n_steps=config.rollout,
            batch_size=config.batch_size,
            n_epochs=config.passes,
            gamma=config.discount,
            gae_lambda=config.trace,
            ent_coef=config.entropy,
            policy_kwargs={"net_arch": [config.hidden] * 2},
            device="cpu",
        )

    def _layers(self) -> list[nn.Module]:
        policy = self.model.policy
        return [policy.mlp_extractor.policy_net, policy.action_net, self._last(squash=False)]


class Sac(PolicyLearner[SacConfig]):
    """For vectors; learns from all that it ever played, so it needs few steps."""

    normalises_reward = False

    def _model(self) -> SAC:
        config = self.config
        if self.environment.answer.bounds is None:
            raise BadConfig(
                f"--environment {config.environment}: expected actions that are vectors, as SAC"
                " learns; got a choice: policy_cartpole and policy_lunarlander learn those"
            )
        return SAC(
            "MlpPolicy",
            self.worlds,
            learning_rate=config.learning_rate,
            buffer_size=config.rounds * config.round_steps,
            learning_starts=config.warm_up,
            batch_size=config.batch_size,
            gamma=config.discount,
            gradient_steps=-1,  # one for each step of each world
            policy_kwargs={"net_arch": [config.hidden] * 2},
            device="cpu",
        )

    def _layers(self) -> list[nn.Module]:
        actor = self.model.policy.actor
        return [actor.latent_pi, actor.mu, self._last(squash=True)]

    def state_dict(self) -> dict[str, Any]:
        played = self.model.replay_buffer
        kept = {key: value[: played.size()] for key, value in _arrays(played).items()}
        place = (played.pos, played.full)
        caution = self.model.log_ent_coef.detach().clone()
        return {**super().state_dict(), "caution": caution, "played": kept, "place": place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        played = self.model.replay_buffer
        for key, array in _arrays(played).items():
            array[: len(state["played"][key])] = state["played"][key]
        played.pos, played.full = state["place"]
        with torch.no_grad():
            self.model.log_ent_coef.copy_(state["caution"])


def _arrays(played: Any) -> dict[str, Any]:
    """A replay buffer's own, by name: what was seen, done and given, ``[steps, worlds, …]``."""
    return {key: value for key, value in vars(played).items() if isinstance(value, np.ndarray)}
