"""The cost of pages of the toy: what the cost model of all models is told of this one."""

from dataclasses import asdict

from modelmeter.errors import ModelMeterError
from modelmeter.models.common import cost_model as common
from tests.toy_model.config import CONFIGURATION, ModelSchema
from tests.toy_model.executions import EXECUTIONS
from tests.toy_model.model import ToyModel
from tests.toy_model.workload import Workload


class CostModel(common.CostModel[ModelSchema, Workload, ToyModel]):
    """The cost of pages under one configuration."""

    configuration = CONFIGURATION
    executions = EXECUTIONS

    def make_workload(self) -> Workload:
        """The workload of the configuration."""
        return Workload(**vars(self.config.workload))

    def make_model(self) -> ToyModel:
        """The layers of the configuration."""
        vision, decoder = asdict(self.config.vision), asdict(self.config.decoder)
        if vision["hidden_size"] % vision["num_heads"]:
            raise ModelMeterError(
                f"config: vision.hidden_size={vision['hidden_size']} does not divide by "
                f"vision.num_heads={vision['num_heads']}; set one of both."
            )
        vocab_size = decoder.pop("vocab_size")
        sizes = {"vision": vision, "decoder": decoder, "vocab_size": vocab_size}
        return ToyModel(patch_size=self.workload.patch_size, **sizes, code=self.code)
